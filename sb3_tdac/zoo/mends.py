"""What rl_zoo3's scripts need to run where they are installed as a package."""

import os
import shutil
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
    """Let rl_zoo3 find the ffmpeg that comes with moviepy, where there is no other."""
    if shutil.which("ffmpeg"):
        yield
        return
    from imageio_ffmpeg import get_ffmpeg_exe

    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "ffmpeg").symlink_to(get_ffmpeg_exe())
        with mock.patch.dict(os.environ, PATH=f"{os.environ['PATH']}{os.pathsep}{folder}"):
            yield


@contextmanager
def hub() -> Iterator[None]:
    """Give rl_zoo3 the Hugging Face functions that it was written for.

    The hub's errors are no longer those of ``requests``, which rl_zoo3 waits for where an agent has
    no normalization file, and ``generate_metadata`` has another name and type.
    """
    import huggingface_sb3
    from huggingface_hub.errors import HfHubHTTPError
    from huggingface_sb3 import push_to_hub
    from requests.exceptions import HTTPError

    load = huggingface_sb3.load_from_hub

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
