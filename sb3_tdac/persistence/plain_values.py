"""Settings and spaces as JSON, which runs no code: classes are names from a fixed list."""

import math
from numbers import Integral, Real
from typing import Any

import numpy as np
import torch
from gymnasium import spaces
from numpy.typing import NDArray
from stable_baselines3.common.torch_layers import CombinedExtractor, FlattenExtractor, NatureCNN
from torch import nn

from sb3_tdac.aliases import Space
from sb3_tdac.validation import check_integer

_ACTIVATIONS = ["ReLU", "Tanh", "ELU", "GELU", "SiLU", "LeakyReLU", "Mish", "Softplus", "Sigmoid"]
_ACTIVATIONS += ["SELU", "CELU", "ReLU6", "Hardtanh", "Hardswish", "Softsign", "LogSigmoid"]
_OPTIMIZERS = ["Adam", "AdamW", "RMSprop", "SGD", "Adagrad", "Adamax", "NAdam", "RAdam", "Adadelta"]
_OTHERS = [FlattenExtractor, NatureCNN, CombinedExtractor]
#: Classes that a file may name.
CLASSES: dict[str, type] = {
    **{f"torch.nn.{name}": getattr(nn, name) for name in _ACTIVATIONS},
    **{f"torch.optim.{name}": getattr(torch.optim, name) for name in _OPTIMIZERS},
    **{f"stable_baselines3.{a_class.__name__}": a_class for a_class in _OTHERS},
}
_NAMES = {a_class: name for name, a_class in CLASSES.items()}
_SPACES = {
    a_class.__name__: a_class
    for a_class in (spaces.Box, spaces.Discrete, spaces.MultiDiscrete, spaces.MultiBinary)
}
#: Numbers in one observation or action: a short file may ask for more memory than there is.
MAX_SIZE = 2**24


def encode(name: str, value: Any) -> object:
    """Convert a setting to JSON values, with tuples, dicts and classes marked.

    :param name: of the setting, for the error message
    :param value: numbers, text, ``None``, the classes of ``CLASSES``, and lists, tuples and dicts
        of these
    :return: what ``json`` can write, and ``decode`` turns back
    :raises ValueError: if it is something else
    """
    if value is None or isinstance(value, bool | str):
        return value
    if isinstance(value, Integral):
        return int(value)
    if isinstance(value, Real) and not math.isnan(value):
        return float(value)
    if type(value) in (list, tuple):
        items = [encode(f"{name}[{i}]", item) for i, item in enumerate(value)]
        return items if type(value) is list else {"tuple": items}
    if type(value) is dict and all(isinstance(key, str) for key in value):
        return {"dict": {key: encode(f"{name}[{key!r}]", item) for key, item in value.items()}}
    if isinstance(value, type) and value in _NAMES:
        return {"class": _NAMES[value]}
    raise ValueError(f"{name} is {value!r}, no plain setting")


def decode(value: Any) -> Any:
    """Convert JSON values of ``encode`` back to the setting.

    :param value: from JSON
    :return: the setting
    :raises ValueError: if ``encode`` did not make it
    """
    if isinstance(value, list):
        return [decode(item) for item in value]
    if not isinstance(value, dict):
        return value
    if len(value) == 1:
        ((kind, content),) = value.items()
        if kind == "tuple" and isinstance(content, list):
            return tuple(decode(item) for item in content)
        if kind == "dict" and isinstance(content, dict):
            return {key: decode(item) for key, item in content.items()}
        if kind == "class" and isinstance(content, str) and content in CLASSES:
            return CLASSES[content]
    raise ValueError(f"{value!r:.200} is no plain setting")


def encode_space(name: str, space: Space) -> Any:
    """Convert a space to JSON values.

    :param name: of the space, for the error message
    :param space: one that TDAC supports
    :return: what ``json`` can write, and ``decode_space`` turns back
    :raises ValueError: if it is of another class
    """
    if type(space) is spaces.Dict:
        return {"Dict": {key: encode_space(key, leaf) for key, leaf in space.spaces.items()}}
    if type(space) is spaces.Box:
        content: dict[str, object] = dict(low=_numbers(space.low), high=_numbers(space.high))
        content |= dict(shape=[*space.shape], dtype=space.dtype.name)
    elif type(space) is spaces.MultiDiscrete:
        content = dict(nvec=space.nvec.tolist())
    elif type(space) is spaces.Discrete or type(space) is spaces.MultiBinary:
        content = dict(n=np.array(space.n).tolist())
    else:
        raise ValueError(f"{name} is {space!r}, no plain space")
    return {type(space).__name__: content}


def _numbers(bounds: NDArray[np.generic]) -> object:
    """All bounds, or a single number if all are equal: bounds of an image need no megabyte."""
    first = bounds.flat[0]
    return first.item() if (bounds == first).all() else bounds.tolist()


def decode_space(value: Any) -> Space:
    """Convert JSON values of ``encode_space`` back to the space.

    :param value: from JSON
    :return: the space
    :raises ValueError: if it is too large
    :raises Exception: any other, if ``encode_space`` did not make it
    """
    ((kind, content),) = value.items()
    if kind == "Dict":
        return spaces.Dict({key: decode_space(leaf) for key, leaf in content.items()})
    if kind == "Box":
        dtype, shape = np.dtype(content["dtype"]), tuple(map(int, content["shape"]))
        check_integer("size of a Box", math.prod(shape), 1, MAX_SIZE)
        if dtype.kind not in "biuf":  # one text may be as large as memory
            raise ValueError(f"{dtype!s:.200} is no type of numbers")
        bounds = (np.array(content[name], dtype) for name in ("low", "high"))
        low, high = (np.broadcast_to(bound, shape).copy() for bound in bounds)
        return spaces.Box(low, high, shape, dtype.type)
    if kind == "Discrete":
        check_integer("n of a Discrete", content["n"], 1, MAX_SIZE)
    elif kind == "MultiDiscrete":
        check_integer("size of a MultiDiscrete", sum(content["nvec"]), 1, MAX_SIZE)
    elif kind == "MultiBinary":
        check_integer("size of a MultiBinary", int(np.prod(content["n"])), 1, MAX_SIZE)
    return _SPACES[kind](**content)
