"""Runs the scripts of ``examples/`` in a new process or in this one."""

import io
import subprocess
import sys
from contextlib import redirect_stdout
from pathlib import Path
from types import ModuleType

import pytest

EXAMPLES = Path(__file__).parents[2] / "examples"


def run(script: str, *arguments: str) -> str:
    """Run a script in a new process.

    :param script: path below ``examples/``
    :param arguments: of the command
    :return: its printed text
    """
    command = [sys.executable, str(EXAMPLES / script), *arguments]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def call_main(script: ModuleType, *arguments: str) -> str:
    """Call the ``main`` of an imported script, which is faster.

    :param script: the module
    :param arguments: of the command
    :return: its printed text
    """
    with pytest.MonkeyPatch.context() as patch, redirect_stdout(io.StringIO()) as printed:
        patch.setattr(sys, "argv", [f"{script.__name__}.py", *arguments])
        script.main()
    return printed.getvalue()
