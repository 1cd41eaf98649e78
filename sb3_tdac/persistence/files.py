"""Model files: written whole or not at all, and read only after every entry was checked."""

import errno
import io
import json
import os
import pathlib
import pickle
import platform
import re
import secrets
import shutil
import time
import warnings
import zipfile
from collections.abc import Collection, Iterator
from contextlib import contextmanager, suppress
from typing import Any, TypeAlias

import gymnasium
import numpy as np
import stable_baselines3
import torch
from stable_baselines3.common.save_util import json_to_data, open_path

from sb3_tdac.version import __version__

#: Defaults of the policy in version 0.1.0: its files have only the arguments of the user.
POLICY_0_1_0 = dict(activation_fn=torch.nn.Tanh, std_bounds=(0.2, 1.0))
ModelPath: TypeAlias = str | pathlib.Path | io.BufferedIOBase
#: Number of the file format: increase it when earlier versions would misread new files.
FORMAT = 1
#: Entries of a TDAC model; models of SB3's own classes lack the last one.
ENTRIES = {"data", "policy.pth", "policy.critic_optimizer.pth"}
#: Entry with SB3's version: every complete model of SB3 has it near its end.
OF_SB3 = "_stable_baselines3_version"
#: Exceptions of building a model from a file that other versions wrote.
MISFITS = (ImportError, AttributeError, LookupError, RuntimeError, EOFError, pickle.PickleError)
REMEDIES = dict.fromkeys([errno.ENOSPC, errno.EDQUOT], "free some space") | dict.fromkeys(
    [errno.EACCES, errno.EPERM, errno.EROFS], "choose a folder that you may write to"
)


def origin() -> dict[str, object]:
    """Format, time in seconds since 1970, and versions, to be stored in a file."""
    return dict(
        format=FORMAT,
        time=time.time(),
        sb3_tdac=__version__,
        stable_baselines3=stable_baselines3.__version__,
        gymnasium=gymnasium.__version__,
        torch=str(torch.__version__),
        numpy=np.__version__,
        python=platform.python_version(),
    )


def write(path: ModelPath, content: bytes) -> None:
    """Write a file completely, or leave an old file as it is.

    A process that is killed may leave a hidden file ``.NAME.….tmp`` beside it.

    :param path: file; ``.zip`` is added to a name without a suffix, missing folders are made, and
        where a folder has the name, ``_2`` is added to it, all as SB3 does; or an open file
    :param content: of the file
    :raises OSError: if it cannot be written, naming the file and the remedy
    """
    if not isinstance(path, str | pathlib.Path):
        open_path(path, "w").write(content)
        return
    try:
        _replace(_target(pathlib.Path(path)), content)
    except (OSError, RuntimeError, ValueError) as error:  # loops of links, a NUL in the name
        code = getattr(error, "errno", None) or errno.EINVAL
        remedy = REMEDIES.get(code, "save to another place")
        text = f"{getattr(error, 'strerror', None) or error}: it was not written, and a file that "
        raise OSError(code, f"{text}was there is unchanged; {remedy}", str(path)) from error


def _target(path: pathlib.Path) -> pathlib.Path:
    """Find the file to write, and make its folder."""
    if not path.suffix:
        path = pathlib.Path(f"{path}.zip")
    if path.is_dir():
        warnings.warn(f"{path} is a folder: the model is saved to {path}_2", stacklevel=4)
        path = pathlib.Path(f"{path}_2")
    path = path.resolve()  # write through a link
    if not path.parent.exists():
        warnings.warn(f"Folder {path.parent} is made: it did not exist", stacklevel=4)
        path.parent.mkdir(exist_ok=True, parents=True)
    return path


def _replace(target: pathlib.Path, content: bytes) -> None:
    """Write a new file beside the old one and rename it: a reader sees the old or the new file."""
    if target.exists() and not os.access(target, os.W_OK):
        raise PermissionError(errno.EACCES, "it is write-protected")
    new = target.with_name(f".{target.name}.{secrets.token_hex(4)}.tmp")
    try:
        with open(new, "xb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        if target.exists():
            shutil.copymode(target, new)
        os.replace(new, target)
    finally:  # also after Ctrl-C
        with suppress(OSError):
            new.unlink()
    # Without this, a power failure may restore the old file.
    with suppress(OSError):
        folder = os.open(target.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)


@contextmanager
def readable(path: ModelPath) -> Iterator[io.BufferedIOBase]:
    """Open a file for reading; one that the caller opened stays open.

    :param path: file, with or without ``.zip``, or an open one
    :return: the open file
    :raises OSError: if it cannot be opened
    """
    file = open_path(path, "r", suffix="zip")
    try:
        yield file
    finally:
        if file is not path:
            file.close()


@contextmanager
def opened(path: ModelPath) -> Iterator[io.BufferedIOBase]:
    """Open a model that TDAC saved, after a check of its checksums; unpickling it may run code.

    :param path: file, with or without ``.zip``, or an open one
    :return: the open file
    :raises OSError: if it cannot be opened
    :raises ValueError: if it is damaged, from another class, or from other versions
    """
    with readable(path) as file:
        settings(file, path)
        try:
            yield file
        except MISFITS as error:
            raise ValueError(
                f"{path} does not fit the versions that are installed: {type(error).__name__}: "
                f"{error} ({written_with(file)}; installed: {_versions(origin())})"
            ) from error


def settings(file: io.BufferedIOBase, path: object) -> dict[str, Any]:
    """Check a file, and read its settings without running anything in it.

    :param file: open for reading
    :param path: its name, for error messages
    :return: as in the file, with pickled objects as dicts of text
    :raises ValueError: if it is damaged, or not a model that this version of TDAC can read
    """
    try:
        with zipfile.ZipFile(file) as archive:
            names, damaged = {*archive.namelist()}, archive.testzip()
            if damaged is not None:
                raise zipfile.BadZipFile(f"wrong checksum of {damaged}")
            if OF_SB3 not in names:  # a cut file may contain an inner archive
                raise zipfile.BadZipFile(f"it has no {OF_SB3}")
            found: dict[str, Any] = json.loads(archive.read("data")) if ENTRIES <= names else {}
            is_newer = found.get("_origin", {}).get("format", 0) > FORMAT
    except Exception as error:  # whatever zipfile and json make of damaged bytes
        raise ValueError(
            f"path must be a model saved by TDAC.save, got {path}: it is damaged, cut off or "
            f"something else ({type(error).__name__}: {error}; {written_with(file)})"
        ) from error
    fault = f"path must be a model saved by TDAC.save, got one of another class: {path}"
    if is_newer:
        fault = f"{path} is a model of a newer version of sb3_tdac: update this one, {__version__}"
    if is_newer or not found:
        raise ValueError(f"{fault} ({written_with(file)})")
    return found


def unpickled_settings(
    file: io.BufferedIOBase,
    path: object,
    custom_objects: dict[str, object] | None,
    needed: Collection[str],
) -> dict[str, Any]:
    """Unpickle the settings, and refuse the file if one cannot be read: SB3 would use a default.

    :param file: open for reading
    :param path: its name, for error messages
    :param custom_objects: objects to use in the place of stored ones
    :param needed: names of settings that must be readable
    :return: settings as objects
    :raises ValueError: if one of them cannot be read
    """
    plain = settings(file, path)
    data: dict[str, Any] = json_to_data(json.dumps(plain), custom_objects)
    lost = (plain.keys() - data.keys()) & {*needed}
    if lost:
        raise ValueError(
            f"{sorted(lost)} of {path} cannot be read here: pass what to use in their place, "
            f"like custom_objects={{{min(lost)!r}: ...}} ({written_with(file)})"
        )
    if "_origin" not in plain:
        data["policy_kwargs"] = POLICY_0_1_0 | data["policy_kwargs"]
    return data


def written_with(file: io.BufferedIOBase) -> str:
    """Name the versions that wrote a file, even a damaged one: they are not compressed.

    :param file: open for reading
    :return: like ``"saved with sb3_tdac 0.1.0, torch 2.13.0"``
    """
    file.seek(0)
    content = file.read()
    if ours := re.search(rb'"_origin": (\{[^{}]*\})', content):
        with suppress(ValueError):
            return f"saved with {_versions(json.loads(ours[1]))}"
    if others := re.search(rb"_stable_baselines3_version(\d+\.\d+\.\d+)", content):
        return f"saved with stable_baselines3 {others[1].decode()}"
    return "it does not say with which versions it was saved"


def _versions(saved: dict[str, object]) -> str:
    return ", ".join(f"{name} {text}" for name, text in saved.items() if isinstance(text, str))
