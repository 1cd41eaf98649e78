"""A model as plain settings and tensors: the form in its file that runs no code when read."""

import math
import zipfile
from collections.abc import Callable, Collection
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

from sb3_tdac.aliases import Space
from sb3_tdac.persistence.files import ModelPath
from sb3_tdac.persistence.plain_entries import FORMAT, read, refusing, write
from sb3_tdac.persistence.plain_values import decode, decode_space, encode, encode_space
from sb3_tdac.validation import check_integer, check_real, check_spaces

OPTIMIZERS = ("policy.optimizer", "policy.critic_optimizer")
COUNTERS = ("num_timesteps", "_num_timesteps_at_start", "_total_timesteps", "_n_updates")
#: Arguments that a file of somebody else must not decide, like a path that is written to.
UNTRUSTED = {"self", "policy", "env", "device", "tensorboard_log", "_init_setup_model"}
#: Last parts of the names of tensors that are a mean of squares, or count something.
NOT_NEGATIVE = ("var", "count", "mean_square", "exp_avg_sq", "square_avg", "step")


@dataclass(frozen=True)
class PlainModel:
    """All of a model that its file holds in the plain form.

    :param policy: name of the policy, like ``"MlpPolicy"``
    :param arguments: arguments of the constructor
    :param observation_space: space of one observation
    :param action_space: space of one action
    :param n_envs: number of environments
    :param progress_remaining: 1 at the start of training, 0 at its end
    :param counters: attributes of ``COUNTERS``
    :param learning_rates: of the actor and of the critic
    :param tensors: parameters, statistics and state of the optimizers, by unique names
    """

    policy: str
    arguments: dict[str, object]
    observation_space: Space
    action_space: Space
    n_envs: int
    progress_remaining: float
    counters: dict[str, int]
    learning_rates: list[float]
    tensors: dict[str, Tensor]


def write_plain_form(archive: zipfile.ZipFile, describe: Callable[[], PlainModel]) -> None:
    """Add the plain form to a model's file, or the reason why it has none.

    :param archive: file of a model, open for appending; SB3 ignores entries that it does not know
    :param describe: returns the model, or raises if it has no plain form
    """
    tensors: dict[str, Tensor] | None = None
    try:
        model = describe()
        settings = {name: value for name, value in vars(model).items() if name != "tensors"}
        settings["arguments"] = {k: encode(k, value) for k, value in model.arguments.items()}
        for name in ("observation_space", "action_space"):
            settings[name] = encode_space(name, settings[name])
        settings, tensors = dict(format=FORMAT) | settings, model.tensors
    except Exception as error:  # a model without a plain form can be saved all the same
        settings = dict(format=FORMAT, refused=str(error))
    write(archive, settings, tensors)


def read_plain_form(path: ModelPath, known_arguments: Collection[str]) -> PlainModel:
    """Read and check the plain form of a model.

    :param path: file, with or without ``.zip``
    :param known_arguments: arguments of the constructor
    :return: the model; whether its tensors fit is checked by ``filled_in``
    :raises OSError: if there is no such file
    :raises ValueError: if it has no plain form, or one that ``write_plain_form`` did not make
    """
    settings, tensors = read(path)
    with refusing(path):
        del settings["format"]
        model = PlainModel(**settings, tensors=tensors)
        arguments = {name: decode(value) for name, value in model.arguments.items()}
        if unknown := {*arguments} - ({*known_arguments} - UNTRUSTED):
            raise ValueError(f"{sorted(unknown)} are no plain settings")
        observation_space = decode_space(model.observation_space)
        action_space = decode_space(model.action_space)
        check_spaces(observation_space, action_space)
        check_integer("n_envs", model.n_envs, 1, 2**20)
        counters = {name: model.counters[name] for name in COUNTERS}
        for name, count in counters.items():
            check_integer(name, count, 0)
        for rate in model.learning_rates:
            check_real("a learning rate", rate, low=0.0)
        check_real("progress_remaining", model.progress_remaining, 0.0, 1.0)
        return replace(
            model,
            arguments=arguments,
            observation_space=observation_space,
            action_space=action_space,
            counters=counters,
        )


def all_plain(arguments: dict[str, object]) -> dict[str, object]:
    """Refuse arguments that have no plain form.

    :param arguments: of the constructor
    :return: the same
    :raises ValueError: naming the first
    """
    for name, value in arguments.items():
        encode(name, value)
    return arguments


def learning_rate(optimizer: torch.optim.Optimizer) -> float:
    """The learning rate of an optimizer, which must have no other changed number.

    :param optimizer: optimizer
    :raises ValueError: if other numbers were changed too
    """
    group, *others = optimizer.param_groups
    changed = {
        k for k, v in group.items() if k not in ("params", "lr") and v != optimizer.defaults.get(k)
    }
    if others or changed:
        raise ValueError(
            f"an optimizer has other groups, or other {sorted(changed)}, than it was built with"
        )
    return float(group["lr"])


def named_tensors(parameters: dict[str, dict[str, Any]]) -> dict[str, Tensor]:
    """Parameters, statistics and state of the optimizers by unique names.

    :param parameters: what ``get_parameters`` returned
    :return: copies, none of which share memory
    :raises ValueError: if something is no tensor
    """
    tensors: dict[str, object] = {}
    for name, state in parameters.items():
        if name in OPTIMIZERS:
            for index, remembered in state["state"].items():
                tensors |= {f"{name}/{index}.{key}": value for key, value in remembered.items()}
        else:
            tensors |= {f"{name}/{key}": value for key, value in state.items()}
    tensors = {name: value for name, value in tensors.items() if value is not None}
    copies = {}
    for name, value in tensors.items():
        if not isinstance(value, Tensor):
            raise ValueError(f"{name} is no tensor")
        copies[name] = value.detach().cpu().clone().contiguous()
    return copies


def filled_in(parameters: dict[str, dict[str, Any]], plain: PlainModel) -> dict[str, Any]:
    """Put the tensors and learning rates of a file into the parameters of a new model.

    :param parameters: what ``get_parameters`` returned, after each optimizer made its state
    :param plain: content of the file
    :return: argument for ``set_parameters``
    :raises ValueError: if a tensor is missing, does not fit, or cannot be what its name says
    """
    tensors = plain.tensors
    _check_tensors(tensors, named_tensors(parameters))
    for name, state in parameters.items():
        if name not in OPTIMIZERS:
            parameters[name] = {key: tensors[f"{name}/{key}"] for key in state}
            continue
        state["param_groups"][0]["lr"] = plain.learning_rates[OPTIMIZERS.index(name)]
        for index, remembered in state["state"].items():
            stored = {key: tensors.get(f"{name}/{index}.{key}") for key in remembered}
            state["state"][index] = {k: v for k, v in stored.items() if v is not None}
        state["state"] = {index: stored for index, stored in state["state"].items() if stored}
    return parameters


def make_state(optimizer: torch.optim.Optimizer) -> None:
    """Let an optimizer create its state, which tells the names and shapes in a file.

    :param optimizer: new
    """
    for parameter in optimizer.param_groups[0]["params"]:
        parameter.grad = torch.zeros_like(parameter)
    optimizer.step()
    optimizer.zero_grad()


def _check_tensors(tensors: dict[str, Tensor], expected: dict[str, Tensor]) -> None:
    """Refuse names, types and shapes that are not the model's, and impossible numbers."""
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


class AtMostThoseWeights(TorchFunctionMode):
    """Refuses to build networks with more weights than a file has, before they take memory.

    :param tensors: of the file
    """

    def __init__(self, tensors: Collection[Tensor]):
        super().__init__()
        self.left, self.tensors_left = sum(tensor.numel() for tensor in tensors), len(tensors)

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func is torch.empty:
            self.left -= math.prod(args[0] if isinstance(args[0], tuple | list) else args)
            self.tensors_left -= 1  # tensors without a weight take time
            if self.left < 0 or self.tensors_left < 0:
                raise ValueError("its settings ask for more weights than it has")
        return func(*args, **kwargs or {})
