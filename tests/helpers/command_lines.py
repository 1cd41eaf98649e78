"""Finds the command lines of Markdown, and lets the parser of each command read them."""

import argparse
import importlib
import importlib.util
import os
import re
import shlex
import subprocess
from pathlib import Path
from typing import NoReturn

import pytest

from sb3_tdac.zoo.cli import main

ROOT = Path(__file__).parents[2]
FENCE = re.compile(r"^ *```(.*)\n([\s\S]*?)^ *```$", re.MULTILINE)
SHELLS = {"sh", "bash", "console", "text", ""}
PROGRAMS = ("sb3-tdac", "python examples/", "python -m sb3_tdac", "make", "pip install")
#: A command that leaves something out: what a parser may then say.
INCOMPLETE = re.compile("required|expected|…")
EXTRAS = re.compile(r"^([\w-]+) = \[", re.MULTILINE)


class Parsed(BaseException):
    """A parser has read its command line: the command ends here."""


class Refused(BaseException):
    """A parser has refused its command line."""


def without_fences(text: str) -> str:
    return FENCE.sub("", text)


def commands(text: str) -> list[str]:
    """The command lines of a page, in its blocks and within its sentences.

    :param text: Markdown
    :return: the commands, each on one line
    """
    found = []
    for language, block in FENCE.findall(text):
        if language in SHELLS:
            found += re.sub(r"\\\n", " ", block).splitlines()
    found += re.findall(r"(?<!`)`([^`]+)`(?!`)", without_fences(text))
    lines = [re.sub(r"\s+", " ", line).strip().removeprefix("$ ") for line in found]
    return [line for line in dict.fromkeys(lines) if re.match(rf"({'|'.join(PROGRAMS)})\b", line)]


def check(command: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the command's own parser read it.

    :param command: one line
    :param monkeypatch: fixture
    :raises AssertionError: if the parser refuses it, or the program does not exist
    """
    program, *arguments = shlex.split(command.replace(r"\|", "|"), comments=True)
    complete = "…" not in command and len(arguments) > 1 and arguments[-1][0] != "-"
    if program == "make":
        environment = {key: os.environ[key] for key in os.environ if key != "MAKEFLAGS"}
        line = ["make", "--dry-run", *arguments]
        subprocess.run(line, cwd=ROOT, env=environment, check=True, capture_output=True)
    elif program == "pip":
        extras = {
            extra for word in arguments for extra in re.findall(r"[\[,]([\w-]+)(?=[\],])", word)
        }
        assert extras <= {*EXTRAS.findall((ROOT / "pyproject.toml").read_text())}
    elif program == "sb3-tdac" or arguments[:2] == ["-m", "sb3_tdac.zoo"]:
        arguments = arguments[2 * (program == "python") :]
        if not arguments or arguments[0].isupper():  # the program itself, or any of its commands
            return
        _parse(lambda: main(arguments), monkeypatch, complete)
    elif arguments[0] == "-m":
        assert importlib.util.find_spec(arguments[1])
    else:
        _check_script(ROOT / arguments[0], arguments[1:], monkeypatch, complete)


def _check_script(
    script: Path, arguments: list[str], monkeypatch: pytest.MonkeyPatch, complete: bool
) -> None:
    text = script.read_text()
    if "argparse" not in text:
        assert not any(argument.startswith("-") for argument in arguments)
        return
    if "rl_zoo3" in text or script.stem == "search_defaults":
        pytest.importorskip("rl_zoo3", reason="needs rl_zoo3: pip install 'sb3_tdac[zoo]'")
    monkeypatch.setattr("sys.argv", [str(script), *arguments])
    _parse(importlib.import_module(script.stem).main, monkeypatch, complete)


def _parse(run: object, monkeypatch: pytest.MonkeyPatch, complete: bool) -> None:
    parse_args = argparse.ArgumentParser.parse_args

    def parsed(*arguments: object) -> NoReturn:
        parse_args(*arguments)  # type: ignore[call-overload]
        raise Parsed

    def refused(parser: argparse.ArgumentParser, message: str) -> NoReturn:
        raise Refused(message)

    def resumed(run: Path) -> NoReturn:
        raise Parsed

    monkeypatch.setattr(argparse.ArgumentParser, "parse_args", parsed)
    monkeypatch.setattr(argparse.ArgumentParser, "error", refused)
    if importlib.util.find_spec("rl_zoo3"):
        monkeypatch.setattr("sb3_tdac.zoo.resume.resume", resumed)
    assert callable(run)
    try:
        status = run()
    except Parsed:
        return
    except Refused as refusal:
        assert not complete and INCOMPLETE.search(str(refusal)), refusal
    except SystemExit as ended:  # --help
        assert ended.code == 0
    else:
        assert status == 0, "the command was not parsed"
