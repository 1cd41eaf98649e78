"""Two entries of a model's file, JSON and safetensors: reading them runs no code."""

import io
import json
import pathlib
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import safetensors.torch
from stable_baselines3.common.save_util import open_path
from torch import Tensor

from sb3_tdac.persistence.files import OF_SB3, ModelPath, written_with

SETTINGS, WEIGHTS = "sb3_tdac/settings.json", "sb3_tdac/weights.safetensors"
#: Raised when earlier versions would misread the entries.
FORMAT = 1
#: Bytes of JSON: those of a model with bounds for each pixel are a few millions.
MAX_SETTINGS = 2**24


def write(
    archive: zipfile.ZipFile, settings: dict[str, object], tensors: dict[str, Tensor] | None
) -> None:
    """Add the two entries; SB3 ignores entries with unknown names.

    :param archive: file of a model, open for appending
    :param settings: for JSON
    :param tensors: contiguous, none sharing memory; ``None``: there are none
    """
    archive.writestr(SETTINGS, json.dumps(settings))
    if tensors is not None:
        archive.writestr(WEIGHTS, safetensors.torch.save(tensors))


@contextmanager
def refusing(path: ModelPath) -> Iterator[None]:
    """Turn any exception about a file of somebody else into one ``ValueError``.

    :param path: file
    :raises ValueError: in the place of any exception
    """
    try:
        yield
    except Exception as error:
        reason = str(error) if isinstance(error, ValueError) else f"{type(error).__name__}: {error}"
        file = open_path(path, "r", suffix="zip")
        texts = [f"{reason:.1000}", f"{written_with(file):.1000}"]
        if file is not path:
            file.close()
        # texts of the file may hold what a terminal obeys; so would the traceback of the cause
        reason, versions = (text.encode("unicode_escape").decode() for text in texts)
        raise ValueError(
            f"path must be a model with plain settings and weights, as TDAC.save makes it, got "
            f"{path}: {reason} ({versions})"
        ) from None


def read(
    path: str | pathlib.Path | io.BufferedIOBase,
) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """Read what ``write`` wrote.

    :param path: file, with or without ``.zip``
    :return: settings from JSON, and tensors by their names
    :raises OSError: if there is no such file
    :raises ValueError: if it is not as ``write`` makes it
    """
    file = open_path(path, "r", suffix="zip")
    try:
        with refusing(path), zipfile.ZipFile(file) as archive:
            if OF_SB3 not in archive.namelist():  # zipfile may find an archive within one
                raise zipfile.BadZipFile("it is damaged, cut off or something else")
            size = file.seek(0, io.SEEK_END)
            text = _content(archive, SETTINGS, min(size, MAX_SETTINGS))
            settings = json.loads(text, parse_int=_integer, parse_constant=_infinity)
            if settings["format"] != FORMAT:
                raise ValueError("a newer version of sb3_tdac saved it: update this one")
            if "refused" in settings:
                raise ValueError(
                    f"it has no plain form: {settings['refused']!r:.1000}; where you trust the "
                    "file, load it without safe=True"
                )
            return settings, safetensors.torch.load(_content(archive, WEIGHTS, size))
    finally:
        if file is not path:
            file.close()


def _content(archive: zipfile.ZipFile, name: str, limit: int) -> bytes:
    """Read an entry, which must not be compressed: then it is no larger than the file."""
    if name not in archive.namelist():
        raise ValueError(
            "it has no plain form, an earlier version of sb3_tdac or something else saved it: "
            "where you trust the file, load it without safe=True and save it again"
        )
    info = archive.getinfo(name)
    if (
        info.compress_type != zipfile.ZIP_STORED
        or not info.file_size == info.compress_size <= limit
    ):
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
