"""Helpers of the tests of the command line."""

import pytest

from sb3_tdac.zoo.cli import main


def error_line(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    """The error of a failing command: one line that starts with the program's name.

    argparse writes its usage before that line, nothing else may come there.

    :param capsys: fixture
    :param arguments: command and its options
    """
    assert main(arguments) in (1, 2)
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1 or lines[0].startswith("usage: ")
    assert lines[-1].startswith("sb3-tdac")
    return lines[-1]
