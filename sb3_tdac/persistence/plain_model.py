"""A model as plain settings and tensors: two entries of its file that run no code when read."""

import io
import json
import zipfile
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import safetensors.torch
from torch import Tensor

from sb3_tdac.aliases import Space
from sb3_tdac.persistence.files import OF_SB3, ModelPath, readable, written_with
from sb3_tdac.persistence.plain_values import decode_space, encode_space
from sb3_tdac.validation import check_integer, check_real, check_spaces

SETTINGS, WEIGHTS = "sb3_tdac/settings.json", "sb3_tdac/weights.safetensors"
#: Number of the form: increase it when earlier versions would misread the entries.
FORMAT = 1
#: Largest JSON in bytes: a model with bounds for each pixel needs a few millions.
MAX_SETTINGS = 2**24
COUNTERS = ("num_timesteps", "_num_timesteps_at_start", "_total_timesteps", "_n_updates")
#: Arguments that an untrusted file must not decide, like a path that is written to.
UNTRUSTED = {"self", "policy", "env", "device", "tensorboard_log", "_init_setup_model"}


@dataclass(frozen=True)
class PlainModel:
    """All of a model that its file holds in the plain form.

    :param policy: name of the policy, like ``"MlpPolicy"``
    :param arguments: arguments of the constructor, as ``plain_values.encode`` converts them
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
    settings: dict[str, Any]
    try:
        settings = dict(format=FORMAT) | vars(describe())
        for name in ("observation_space", "action_space"):
            settings[name] = encode_space(name, settings[name])
    except Exception as error:  # a model without a plain form can be saved all the same
        settings = dict(format=FORMAT, refused=str(error))
    tensors = settings.pop("tensors", None)
    archive.writestr(SETTINGS, json.dumps(settings))
    if tensors is not None:
        archive.writestr(WEIGHTS, safetensors.torch.save(tensors))


def read_plain_form(path: ModelPath, known_arguments: Collection[str]) -> PlainModel:
    """Read and check the plain form of a model.

    :param path: file, with or without ``.zip``
    :param known_arguments: arguments of the constructor
    :return: the model; whether its tensors fit is checked by ``filled_in``
    :raises OSError: if there is no such file
    :raises ValueError: if it has no plain form, or one that ``write_plain_form`` did not make
    """
    with readable(path) as file, refusing(path):
        settings = _read(file)
        for name in ("observation_space", "action_space"):
            settings[name] = decode_space(settings[name])
        settings["counters"] = {name: settings["counters"][name] for name in COUNTERS}
        model = PlainModel(**settings)
        if unknown := {*model.arguments} - ({*known_arguments} - UNTRUSTED):
            raise ValueError(f"{sorted(unknown)} are no plain settings")
        check_spaces(model.observation_space, model.action_space)
        check_integer("n_envs", model.n_envs, 1, 2**20)
        for name, count in model.counters.items():
            check_integer(name, count, 0)
        for rate in model.learning_rates:
            check_real("a learning rate", rate, low=0.0)
        check_real("progress_remaining", model.progress_remaining, 0.0, 1.0)
        return model


@contextmanager
def refusing(path: ModelPath) -> Iterator[None]:
    """Turn any exception about an untrusted file into one ``ValueError``.

    :param path: file
    :raises ValueError: in the place of any exception
    """
    try:
        yield
    except Exception as error:
        reason = str(error) if isinstance(error, ValueError) else f"{type(error).__name__}: {error}"
        with readable(path) as file:
            texts = [f"{reason:.1000}", f"{written_with(file):.1000}"]
        # escape control characters; a chained traceback would print them too
        reason, versions = (text.encode("unicode_escape").decode() for text in texts)
        raise ValueError(
            f"path must be a model with plain settings and weights, as TDAC.save makes it, got "
            f"{path}: {reason} ({versions})"
        ) from None


def _read(file: io.BufferedIOBase) -> dict[str, Any]:
    """Read the two entries: values from JSON, and ``tensors`` by their names."""
    with zipfile.ZipFile(file) as archive:
        if OF_SB3 not in archive.namelist():  # zipfile may find an archive within one
            raise zipfile.BadZipFile("it is damaged, cut off or something else")
        size = file.seek(0, io.SEEK_END)
        text = _content(archive, SETTINGS, min(size, MAX_SETTINGS))
        settings: dict[str, Any] = json.loads(text, parse_int=_integer, parse_constant=_infinity)
        if settings.pop("format") != FORMAT:
            raise ValueError("a newer version of sb3_tdac saved it: update this one")
        if "refused" in settings:
            raise ValueError(
                f"it has no plain form: {settings['refused']!r:.1000}; where you trust the "
                "file, load it without safe=True"
            )
        return settings | dict(tensors=safetensors.torch.load(_content(archive, WEIGHTS, size)))


def _content(archive: zipfile.ZipFile, name: str, limit: int) -> bytes:
    """Read an entry, which must not be compressed: then it is no larger than the file."""
    if name not in archive.namelist():
        raise ValueError(
            "it has no plain form, an earlier version of sb3_tdac or something else saved it: "
            "where you trust the file, load it without safe=True and save it again"
        )
    info = archive.getinfo(name)
    is_stored = info.compress_type == zipfile.ZIP_STORED and info.file_size == info.compress_size
    if not is_stored or info.file_size > limit:
        raise ValueError(f"{name} is compressed or too large")
    return archive.read(name)


def _integer(text: str) -> int:
    if len(text) > 18:
        raise ValueError(f"{text:.20} is too large")
    return int(text)


def _infinity(text: str) -> float:
    if text == "NaN":
        raise ValueError("a number is NaN")
    return float(text)
