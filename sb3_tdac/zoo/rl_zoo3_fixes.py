"""Fixes for commands of rl_zoo3 that do not know TDAC or newer packages."""

import importlib
import os
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any

_call = subprocess.call


@contextmanager
def replaced(owner: object, name: str, value: object) -> Iterator[None]:
    """Replace an attribute of another package while a block runs.

    :param owner: module or class that has the attribute
    :param name: name of the attribute
    :param value: its value in the block
    """
    before = getattr(owner, name)
    setattr(owner, name, value)
    try:
        yield
    finally:
        setattr(owner, name, before)


def call_child(command: list[str], **options: Any) -> int:
    """Start a child process of rl_zoo3 as a command of ours, which knows TDAC.

    Other libraries call it, too, while it is in the place of ``subprocess.call``.

    :param command: ``python``, its script or module, and the arguments
    :param options: of ``subprocess.call``
    """
    match command:
        case ["python", "enjoy.py", *arguments]:  # a script that an installed rl_zoo3 does not have
            command = [sys.executable, "-m", "sb3_tdac.zoo", "enjoy", *arguments]
        case ["python", "-m", "rl_zoo3.record_video", *arguments]:
            command = [sys.executable, "-m", "sb3_tdac.zoo", "record_video", *arguments]
    return _call(command, **options)


def children() -> AbstractContextManager[None]:
    """Start rl_zoo3's child processes by ``call_child``: its scripts fix their command lines."""
    return replaced(subprocess, "call", call_child)


def run_ffmpeg(command: str) -> int:
    """Run a shell command of rl_zoo3 with moviepy's ffmpeg, if none is installed.

    :param command: command line that starts with ``ffmpeg``
    :return: exit status, which is 0
    :raises RuntimeError: if it failed, which rl_zoo3 would not notice
    """
    from imageio_ffmpeg import get_ffmpeg_exe

    program = shutil.which("ffmpeg") or get_ffmpeg_exe()
    status = subprocess.run(command.replace("ffmpeg", shlex.quote(program), 1), shell=True)
    if status.returncode != 0:
        raise RuntimeError(f"this command failed: {command}")
    return status.returncode


def ffmpeg() -> AbstractContextManager[None]:
    """Run rl_zoo3's ffmpeg commands by ``run_ffmpeg``: its script fixes them, too."""
    return replaced(os, "system", run_ffmpeg)


@contextmanager
def hub() -> Iterator[None]:
    """Give rl_zoo3 the Hugging Face functions that it was written for.

    It imports both by name, and expects an error of ``requests`` for a file that an agent does not
    have, such as its normalization. Newer packages raise another error, and have another name and
    type for ``generate_metadata``.
    """
    import huggingface_sb3
    from huggingface_hub.errors import HfHubHTTPError
    from requests.exceptions import HTTPError

    load = huggingface_sb3.load_from_hub
    # ``huggingface_sb3.push_to_hub`` is a function; the module has the same name.
    push_to_hub = importlib.import_module("huggingface_sb3.push_to_hub")

    def load_from_hub(repo_id: str, filename: str) -> str:
        try:
            return str(load(repo_id, filename))
        except HfHubHTTPError as error:
            raise HTTPError(str(error)) from error

    def generate_metadata(*results: object) -> object:
        return push_to_hub._generate_metadata(*results).to_dict()

    if not hasattr(push_to_hub, "generate_metadata"):
        vars(push_to_hub)["generate_metadata"] = generate_metadata
    with replaced(huggingface_sb3, "load_from_hub", load_from_hub):
        yield
