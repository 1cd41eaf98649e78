"""What rl_zoo3's scripts need to run where they are installed as a package."""

import importlib
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from unittest import mock

_call = subprocess.call


def call_child(command: list[str], **options: Any) -> int:
    """Start a child of rl_zoo3 as one of ours, so that it knows TDAC and its script is found.

    :param command: ``python``, its script or module, and the arguments
    :param options: of ``subprocess.call``
    :return: exit status
    """
    match command:
        case ["python", "enjoy.py", *arguments]:
            command = [sys.executable, "-m", "sb3_tdac.zoo", "enjoy", *arguments]
        case ["python", "-m", "rl_zoo3.record_video", *arguments]:
            command = [sys.executable, "-m", "sb3_tdac.zoo", "record_video", *arguments]
    return _call(command, **options)


@contextmanager
def own_children() -> Iterator[None]:
    """Let the children that rl_zoo3 starts know TDAC."""
    with mock.patch.object(subprocess, "call", call_child):
        yield


@contextmanager
def ffmpeg() -> Iterator[None]:
    """Let rl_zoo3 find the ffmpeg that comes with moviepy, and notice when it fails."""
    from imageio_ffmpeg import get_ffmpeg_exe

    system = os.system

    def checked(command: str) -> int:
        status = system(command)
        if status != 0:
            raise RuntimeError(f"this command failed: {command}")
        return status

    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "ffmpeg").symlink_to(get_ffmpeg_exe())
        path = f"{os.environ['PATH']}{os.pathsep}{folder}"  # an installed one comes first
        with mock.patch.dict(os.environ, PATH=path), mock.patch.object(os, "system", checked):
            yield


@contextmanager
def hub() -> Iterator[None]:
    """Give rl_zoo3 the Hugging Face functions that it was written for.

    The hub's errors are no longer those of ``requests``, which rl_zoo3 waits for where an agent has
    no normalization file, and ``generate_metadata`` has another name and type.
    """
    import huggingface_sb3
    from huggingface_hub.errors import HfHubHTTPError
    from requests.exceptions import HTTPError

    load = huggingface_sb3.load_from_hub
    # The package has a function of the same name.
    push_to_hub = importlib.import_module("huggingface_sb3.push_to_hub")

    def load_from_hub(repo_id: str, filename: str) -> str:
        try:
            return str(load(repo_id, filename))
        except HfHubHTTPError as error:
            raise HTTPError(str(error)) from error

    def generate_metadata(*results: Any) -> Any:
        return push_to_hub._generate_metadata(*results).to_dict()

    with (
        mock.patch.object(huggingface_sb3, "load_from_hub", load_from_hub),
        mock.patch.object(push_to_hub, "generate_metadata", generate_metadata, create=True),
    ):
        yield
