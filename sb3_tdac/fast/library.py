"""The compiled kernels, and their structures in ``ctypes``: names as in ``kernels.c``."""

import ctypes
from ctypes import POINTER, c_double, c_float, c_int64, c_void_p
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

FILE = Path(__file__).with_name("libkernels.so")
Array = NDArray[Any]


def pointers(*names: str) -> list[tuple[str, type]]:
    return [(name, c_void_p) for name in names]


class Parameter(ctypes.Structure):
    _fields_ = [*pointers("value", "gradient", "mean", "square", "steps"), ("size", c_int64)]


class Layer(ctypes.Structure):
    _fields_ = [
        *((name, c_int64) for name in ("inputs", "outputs", "activation")),
        *((name, POINTER(Parameter)) for name in ("weight", "bias")),
        *pointers("output", "error"),
    ]


class NetworkStructure(ctypes.Structure):
    _fields_ = [
        *((name, c_int64) for name in ("n_hidden", "n_layers", "n_parameters")),
        *(("layers", POINTER(Layer)), ("parameters", POINTER(Parameter))),
        *pointers("scratch"),
    ]


class BatchStructure(ctypes.Structure):
    _fields_ = [
        *((name, c_int64) for name in ("size", "rows")),
        *pointers("states", "reward", "action", "successor", "elapsed_steps", "choice"),
        *pointers("terminated", "value", "target", "advantage"),
    ]


#: Arguments of each function: p pointer, i integer, d double, f float.
SIGNATURES = dict(
    squared_gradient_norm="p",
    scale_gradient="pd",
    adam="pdddd",
    are_within="pif",
    is_finite="p",
    copy_state="ppi",
    normalize="piippfffp",
    update_moments="piipppd",
    value_and_target="ppd",
    critic_gradient="ppddi",
    advantage="pdiddppii",
    sample_gaussian="ppiiddpp",
    forward="ppi",
    gaussian_gradient="ppddidd",
    categorical_gradient="ppdd",
    normalize_rewards="ppiidppppddd",
)
#: What those return that return something.
RESULTS = dict(
    squared_gradient_norm=c_double,
    **dict.fromkeys(("are_within", "is_finite", "normalize", "sample_gaussian"), c_int64),
)


@cache
def load() -> Any:
    """The library, or ``None`` where it was not compiled, or for another machine.

    :return: functions of ``kernels.c``
    """
    if not FILE.exists():
        return None
    try:
        library = ctypes.CDLL(str(FILE))
    except OSError:
        return None
    kinds = dict(p=c_void_p, i=c_int64, d=c_double, f=c_float)
    for name, arguments in SIGNATURES.items():
        function = getattr(library, name)
        function.argtypes = [kinds[letter] for letter in arguments]
        function.restype = RESULTS.get(name)
    return library


def address(array: Array | Tensor) -> int:
    """Where the numbers of an array or a tensor are.

    :param array: C-contiguous; the caller keeps it alive
    :return: address of the first
    """
    if isinstance(array, Tensor):
        return array.data_ptr()
    assert array.flags.c_contiguous
    location: int = array.__array_interface__["data"][0]
    return location


def zeros(*shape: int, dtype: Any = np.float32) -> Array:
    """An array for the kernels, float32 as they are.

    :param shape: of the array
    :param dtype: of its elements
    :return: zeros
    """
    return np.zeros(shape, dtype)
