"""Damages model files and lets system calls fail while a model is saved, for ``torture.py``."""

import errno
import io
import itertools
import os
import random
import shutil
import signal
import struct
import tempfile
import warnings
import zipfile
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from stable_baselines3.common.env_util import make_vec_env
from torch.utils._pytree import tree_leaves
from tqdm import tqdm

from sb3_tdac import TDAC
from sb3_tdac.persistence import files

#: Seconds after which a load counts as hanging.
DEADLINE = 10
#: The function that makes each system call.
PATCHED: dict[str, tuple[Any, str]] = {
    "open": (files, "open"),
    "write": (files, "open"),
    "mkdir": (Path, "mkdir"),
    "chmod": (shutil, "copymode"),
    "fsync": (os, "fsync"),
    "rename": (os, "replace"),
}
CODES = (errno.ENOSPC, errno.EDQUOT, errno.EACCES, errno.EROFS, errno.EIO)


def small_model() -> TDAC:
    """A trained model: both optimizers and all statistics have a state."""
    env = make_vec_env("CartPole-v1", 2)
    return TDAC("MlpPolicy", env, n_steps=4, seed=0, policy_kwargs=dict(net_arch=[4])).learn(40)


def parts(content: bytes) -> dict[str, range]:
    """Positions of the parts of a zip file."""
    found = {}
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        for entry in archive.infolist():
            names = struct.unpack_from("<HH", content, entry.header_offset + 26)
            start = entry.header_offset + 30 + sum(names)
            found[f"header of {entry.filename}"] = range(entry.header_offset, start)
            found[f"content of {entry.filename}"] = range(start, start + entry.compress_size)
        end = content.rindex(b"PK\5\6")
        found["central directory"] = range(archive.start_dir, end)
    return found | {"end record": range(end, len(content))}


def damaged(content: bytes, rounds: int, seed: int = 0) -> Iterator[tuple[str, str, bytes]]:
    """Copies of a file with a flipped bit, without its end, or with up to 64 random bytes.

    :param content: of the file
    :param rounds: of each kind in each part
    :param seed: of positions and bytes
    :return: kind, part, and content of each
    """
    randomness = random.Random(seed)
    for _, (part, positions) in itertools.product(range(rounds), parts(content).items()):
        at, length = randomness.choice(positions), randomness.randint(1, 64)
        flipped = bytearray(content)
        flipped[at] ^= 1 << randomness.randrange(8)
        yield "bit flip", part, bytes(flipped)
        yield "cut", part, content[:at]
        garbage = content[:at] + randomness.randbytes(length) + content[at + length :]
        yield "garbage", part, garbage


def outcome(path: Path, content: bytes, expected: list[Any], safe: bool) -> str:
    """Load a file and compare its parameters with the expected ones.

    :param path: place to write the file
    :param content: of the file
    :param expected: leaves of the undamaged file's parameters
    :param safe: of ``load``
    :return: ``"refused"``, ``"identical"``, or the fault
    """
    path.write_bytes(content)
    signal.alarm(DEADLINE)
    try:
        found = tree_leaves(TDAC.load(path, safe=safe).get_parameters())
    except ValueError as error:
        return "refused" if str(path) in str(error) else f"unclear error: {error}"
    except Exception as error:
        return f"other error: {type(error).__name__}: {error}"
    finally:
        signal.alarm(0)
    if len(found) != len(expected):
        return "another model"
    pairs = zip(found, expected, strict=True)
    same = all(torch.equal(a, b) if torch.is_tensor(a) else a == b for a, b in pairs)
    return "identical" if same else "another model"


def damage(rounds: int, seed: int = 0, safe: bool = False) -> Counter[tuple[str, str, str]]:
    """Load damaged files and count the outcomes.

    :param rounds: files of each kind and part
    :param seed: of the damage
    :param safe: of ``load``
    :return: number of files by kind of damage, damaged part and outcome
    """
    found: Counter[tuple[str, str, str]] = Counter()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "model.zip")
        small_model().save(path)
        content, expected = path.read_bytes(), tree_leaves(TDAC.load(path).get_parameters())
        files_to_load = [*damaged(content, rounds, seed)]
        for kind, part, bad in tqdm(files_to_load, desc="damage", disable=rounds < 5):
            found[kind, part, outcome(path, bad, expected, safe)] += 1
    return found


class FullDisk(io.FileIO):
    """A file that writes half of the content and then raises an error.

    :param error: raised
    """

    error: OSError

    def write(self, content: Any) -> int:
        super().write(content[: len(content) // 2])
        raise self.error


@contextmanager
def failing(call: str, error: BaseException) -> Iterator[None]:
    """Lets a system call fail while a model is saved.

    :param call: its name
    :param error: raised by the call
    """

    def fail(*_: Any, **__: Any) -> None:
        raise error

    owner, name = PATCHED[call]
    own = vars(owner).get(name)
    setattr(owner, name, type("Disk", (FullDisk,), {"error": error}) if call == "write" else fail)
    try:
        yield
    finally:
        setattr(owner, name, own) if own else delattr(owner, name)


def fault(call: str, code: int, is_there: bool) -> str:
    """Save while a system call fails.

    :param call: its name
    :param code: errno
    :param is_there: a file of this name exists
    :return: ``"clear error, nothing changed"``, or the fault
    """
    with tempfile.TemporaryDirectory() as folder:
        path, model = Path(folder, "new" if call == "mkdir" else "", "model.zip"), small_model()
        if is_there:
            path.parent.mkdir(exist_ok=True)
            path.write_bytes(b"the old one")
        before = {file: file.read_bytes() for file in Path(folder).rglob("*.*")}
        try:
            with failing(call, OSError(code, os.strerror(code))), warnings.catch_warnings():
                warnings.simplefilter("ignore")  # about the new folder
                model.save(path)
        except OSError as error:
            if {file: file.read_bytes() for file in Path(folder).rglob("*.*")} != before:
                return "files changed"
            clear = error.errno == code and str(path) in str(error)
            clear = clear and type(error) is type(OSError(code, ""))
            return "clear error, nothing changed" if clear else f"unclear error: {error}"
        return "no error"


def cases() -> list[tuple[str, int, bool]]:
    """Arguments of ``fault``: call, code, and whether a file exists."""
    both = itertools.product(("open", "write", "fsync", "rename"), CODES, (False, True))
    return [*both, *(("mkdir", code, False) for code in CODES)] + [
        ("chmod", code, True) for code in CODES
    ]
