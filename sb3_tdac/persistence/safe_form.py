"""A second form of a model in its file, plain settings and weights: reading it runs no code."""

import io
import math
import pathlib
import zipfile
from collections.abc import Collection
from typing import Any

import torch
from stable_baselines3.common.type_aliases import GymEnv
from stable_baselines3.common.utils import check_for_correct_spaces
from torch import Tensor
from torch.overrides import TorchFunctionMode

from sb3_tdac.persistence.plain_entries import FORMAT, read, refusing, write
from sb3_tdac.persistence.plain_values import decode, decode_space, encode, encode_space
from sb3_tdac.validation import check_integer, check_real, check_spaces

OPTIMIZERS = ("policy.optimizer", "policy.critic_optimizer")
COUNTERS = ("num_timesteps", "_num_timesteps_at_start", "_total_timesteps", "_n_updates")
#: A path that a file from someone else names is not written to.
UNTRUSTED = {"self", "policy", "env", "device", "tensorboard_log", "_init_setup_model"}
#: Last parts of the names of what is a mean of squares, or counts something.
NOT_NEGATIVE = ("var", "count", "mean_square", "exp_avg_sq", "square_avg", "step")


def write_plain_entry(model: Any, archive: zipfile.ZipFile, exclude: Collection[str] = ()) -> None:
    """Add the plain form to a model's file, or the reason why it has none.

    :param model: a ``TDAC``
    :param archive: its file, open for appending; SB3 reads no entry whose name it does not know
    :param exclude: arguments of the constructor to leave out
    """
    try:
        settings, tensors = _describe(model, exclude), _tensors(model)
    except Exception as error:  # what cannot be described must not keep the model from being saved
        settings, tensors = dict(format=FORMAT, refused=str(error)), None
    write(archive, settings, tensors)


def _describe(model: Any, exclude: Collection[str]) -> dict[str, Any]:
    """All of a model but its tensors."""
    aliases = {a_class: alias for alias, a_class in model.policy_aliases.items()}
    if type(model.policy) not in aliases:
        raise ValueError(
            f"policy is a {type(model.policy).__name__}, not one of {[*aliases.values()]}"
        )
    names = model.constructor_arguments() - UNTRUSTED - {*exclude}
    attributes = {name: name for name in sorted(names)}
    if "stats_window_size" in attributes:
        attributes["stats_window_size"] = "_stats_window_size"
    return dict(
        format=FORMAT,
        policy=aliases[type(model.policy)],
        arguments={name: encode(name, getattr(model, at)) for name, at in attributes.items()},
        observation_space=encode_space("observation_space", model.observation_space),
        action_space=encode_space("action_space", model.action_space),
        n_envs=model.n_envs,
        progress_remaining=model._current_progress_remaining,
        counters={name: getattr(model, name) for name in COUNTERS},
        learning_rates=[_learning_rate(optimizer) for optimizer in _optimizers(model)],
    )


def _optimizers(model: Any) -> list[torch.optim.Optimizer]:
    return [model.policy.optimizer, model.policy.critic_optimizer]


def _learning_rate(optimizer: torch.optim.Optimizer) -> float:
    """The one number of an optimizer that its constructor's arguments do not tell."""
    group, *others = optimizer.param_groups
    changed = {
        k for k, v in group.items() if k not in ("params", "lr") and v != optimizer.defaults.get(k)
    }
    if others or changed:
        raise ValueError(
            f"an optimizer has other groups, or other {sorted(changed)}, than it was built with"
        )
    return float(group["lr"])


def _tensors(model: Any) -> dict[str, Tensor]:
    """Parameters, statistics and what the optimizers remember, by unique names."""
    tensors: dict[str, Any] = {}
    for name, state in model.get_parameters().items():
        if name in OPTIMIZERS:
            for index, remembered in state["state"].items():
                tensors |= {f"{name}/{index}.{key}": value for key, value in remembered.items()}
        else:
            tensors |= {f"{name}/{key}": value for key, value in state.items()}
    tensors = {name: value for name, value in tensors.items() if value is not None}
    others = [name for name, value in tensors.items() if not isinstance(value, Tensor)]
    if others:
        raise ValueError(f"{others[0]} is no tensor")
    # copies: names may share a tensor, which safetensors does not write
    return {name: value.detach().cpu().clone().contiguous() for name, value in tensors.items()}


def load(
    algorithm: Any,
    path: str | pathlib.Path | io.BufferedIOBase,
    env: GymEnv | None,
    device: torch.device | str,
    changes: dict[str, Any],
) -> Any:
    """Build a model from the plain form in its file.

    :param algorithm: ``TDAC``
    :param path: file, with or without ``.zip``
    :param env: environment to continue with; ``None`` is enough to predict
    :param device: where to put it
    :param changes: arguments of the constructor to change
    :return: the model
    :raises OSError: if there is no such file
    :raises ValueError: if it has no plain form, or one that ``write_plain_entry`` did not make
    """
    settings, tensors = read(path)
    with refusing(path):
        known = algorithm.constructor_arguments() - UNTRUSTED
        arguments = {name: decode(value) for name, value in settings["arguments"].items()}
        if unknown := {*arguments} - known:
            raise ValueError(f"{sorted(unknown)} are no plain settings")
        model: Any = algorithm(
            settings["policy"], None, device=device, _init_setup_model=False, **arguments | changes
        )
        _set_spaces(model, settings)
    if env is not None:
        expected = model.observation_space, model.action_space
        model._adopt_env(env)
        check_for_correct_spaces(model.env, *expected)
    with refusing(path):
        with _Bounded([tensor.numel() for tensor in tensors.values()]):
            model._setup_model()
        _restore(model, settings, tensors)
    return model


def _set_spaces(model: Any, settings: dict[str, Any]) -> None:
    spaces = [decode_space(settings[name]) for name in ("observation_space", "action_space")]
    check_spaces(*spaces)
    check_integer("n_envs", settings["n_envs"], 1, 2**20)
    model.observation_space, model.action_space = spaces
    model.n_envs = settings["n_envs"]


class _Bounded(TorchFunctionMode):
    """Refuses to build networks of more weights than the file has, before they take memory.

    :param sizes: of the file's tensors
    """

    def __init__(self, sizes: list[int]):
        super().__init__()
        self.left, self.tensors_left = sum(sizes), len(sizes)

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func is torch.empty:
            self.left -= math.prod(args[0] if isinstance(args[0], tuple | list) else args)
            self.tensors_left -= 1  # those without a weight take time
            if self.left < 0 or self.tensors_left < 0:
                raise ValueError("its settings ask for more weights than it has")
        return func(*args, **kwargs or {})


def _restore(model: Any, settings: dict[str, Any], tensors: dict[str, Tensor]) -> None:
    """Put everything in its place, if all of it fits."""
    for optimizer in _optimizers(model):
        _remember(optimizer)
    _check_tensors(tensors, _tensors(model))
    parameters = model.get_parameters()
    for name, state in parameters.items():
        if name not in OPTIMIZERS:
            parameters[name] = {key: tensors[f"{name}/{key}"] for key in state}
            continue
        rate = settings["learning_rates"][OPTIMIZERS.index(name)]
        check_real("a learning rate", rate, low=0.0)
        state["param_groups"][0]["lr"] = rate
        for index, remembered in state["state"].items():
            stored = {key: tensors.get(f"{name}/{index}.{key}") for key in remembered}
            state["state"][index] = {k: v for k, v in stored.items() if v is not None}
        state["state"] = {index: stored for index, stored in state["state"].items() if stored}
    model.set_parameters(parameters, exact_match=True, device=model.device)
    for name in COUNTERS:
        check_integer(name, settings["counters"][name], 0)
        setattr(model, name, settings["counters"][name])
    check_real("progress_remaining", settings["progress_remaining"], 0.0, 1.0)
    model._current_progress_remaining = settings["progress_remaining"]


def _remember(optimizer: torch.optim.Optimizer) -> None:
    """Give an optimizer the state that its step makes, for its names and shapes."""
    parameters = optimizer.param_groups[0]["params"]
    for parameter in parameters:
        parameter.grad = torch.zeros_like(parameter)
    optimizer.step()
    optimizer.zero_grad()


def _check_tensors(tensors: dict[str, Tensor], expected: dict[str, Tensor]) -> None:
    """Refuse names, types and shapes that are not the model's, and numbers that cannot be."""
    owners = {name.rpartition(".")[0] for name in tensors}
    for name in expected.keys() - tensors.keys():
        owner = name.rpartition(".")[0]
        if not name.startswith(OPTIMIZERS) or owner in owners:  # a parameter that never moved
            raise ValueError(f"{name} is missing")
    for name, tensor in tensors.items():
        if name not in expected:
            raise ValueError(f"{name!r:.200} is no tensor of the model that its settings describe")
        dtype, shape = expected[name].dtype, expected[name].shape
        if (tensor.dtype, tensor.shape) != (dtype, shape):
            kinds = f"a {tensor.dtype} of shape {[*tensor.shape]}, not a {dtype} of {[*shape]}"
            raise ValueError(f"{name} is {kinds}")
        last = name.rpartition("/")[2].rpartition(".")[2]
        if not tensor.isfinite().all() or (last in NOT_NEGATIVE and (tensor < 0).any()):
            raise ValueError(f"{name} has numbers that are not finite, or negative")
    if not 0 <= tensors["advantage_stats/weight"] <= 1:
        raise ValueError("advantage_stats/weight is not in [0, 1]")
