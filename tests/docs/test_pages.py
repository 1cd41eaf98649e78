"""The code of the pages runs, their commands are parsed, and what they name exists."""

import argparse
import inspect
import re
import runpy
import shlex
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from sb3_tdac import TDAC
from sb3_tdac.policies import TDACPolicy
from sb3_tdac.zoo.cli import COMMANDS, main

ROOT = Path(__file__).parent.parent.parent
PAGES = sorted((ROOT / "docs").glob("*.md"))
TESTS = "".join(path.read_text() for path in (ROOT / "tests").rglob("test_*.py"))


def blocks(page: Path, language: str) -> list[str]:
    found = re.findall(r"^```([^\n]*)\n(.*?)\n```$", page.read_text(), re.MULTILINE | re.DOTALL)
    return [text for kind, text in found if kind == language]


def commands(start: str) -> list[str]:
    """Commands in code and in blocks of all pages, without those that leave something out."""
    inline = [
        " ".join(command.split())
        for page in PAGES
        for command in re.findall(rf"`({start}[^`]*)`", page.read_text())
    ]
    lines = [line for page in PAGES for text in blocks(page, "") for line in text.split("\n")]
    found = inline + [line for line in lines if re.match(start, line)]
    return sorted({command for command in found if "…" not in command})


def shortened(code: str) -> str:
    """The same code with few steps and one seed."""
    code = re.sub(r"\b\d{2,3}_000, 5\b", "512, 1", code)
    return re.sub(r"\b\d{2,3}_000\b", "512", code)


@pytest.mark.filterwarnings("ignore:We recommend you to use a symmetric:UserWarning")
@pytest.mark.filterwarnings("ignore:.*not in the possible render_modes:UserWarning")
@pytest.mark.parametrize(
    "page", [page for page in PAGES if blocks(page, "python")], ids=lambda page: page.stem
)
def test_every_code_block_runs(page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A block that starts with the name of a file is that file."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    for code in blocks(page, "python"):
        if name := re.match(r"# (\w+\.py)\n", code):
            Path(name[1]).write_text(code)
        else:
            exec(compile(shortened(code), str(page), "exec"), {"__name__": "page"})


class Parsed(BaseException):
    """The command line is right; the command itself does not run."""


@pytest.fixture
def parse_only(monkeypatch: pytest.MonkeyPatch) -> None:
    parse = argparse.ArgumentParser.parse_args

    def parse_args(parser: argparse.ArgumentParser, *args: Any, **kwargs: Any) -> None:
        parse(parser, *args, **kwargs)
        raise Parsed

    monkeypatch.setattr(argparse.ArgumentParser, "parse_args", parse_args)


@pytest.mark.usefixtures("parse_only")
def test_every_command_of_sb3_tdac_is_parsed() -> None:
    pytest.importorskip("rl_zoo3", reason="pip install 'sb3_tdac[zoo]'")
    complete = [shlex.split(command)[1:] for command in commands("sb3-tdac ")]
    complete = [command for command in complete if len(command) > 1 and "COMMAND" not in command]
    assert len(complete) > 10
    for command in complete:
        if "--resume" not in command:
            with pytest.raises(Parsed):
                raise AssertionError(f"{command}: {main(command)}")


def test_the_page_lists_every_command_of_sb3_tdac() -> None:
    text = (ROOT / "docs" / "command_line.md").read_text()
    assert set(re.findall(r"`sb3-tdac (\w+)", text)) - {"COMMAND"} == set(COMMANDS)


@pytest.mark.usefixtures("parse_only")
def test_every_command_of_an_example_is_parsed(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip(
        "rl_zoo3", reason="pip install 'sb3_tdac[zoo]'"
    )  # search_defaults.py has it
    found = commands("python examples/")
    assert len(found) > 5
    for command in found:
        script, *arguments = shlex.split(command)[1:]
        monkeypatch.setattr(sys, "argv", [script, *arguments])
        if "parse_args" in (ROOT / script).read_text():
            with pytest.raises(Parsed):
                runpy.run_path(str(ROOT / script), run_name="__main__")
        else:
            assert not arguments


def test_every_path_from_the_root_exists() -> None:
    for page in PAGES:
        for path in re.findall(r"(?<![\w/])(?:examples|zoo_configs)/[\w./-]*\w", page.read_text()):
            assert (ROOT / path).exists(), f"{path} in {page}"


def test_every_named_test_exists() -> None:
    for page in PAGES:
        for name in re.findall(r"`(test_\w+)`", page.read_text()):
            assert f"def {name}(" in TESTS, f"{name} in {page}"


def test_every_page_is_reached_from_the_index() -> None:
    index = (ROOT / "docs" / "index.md").read_text()
    toctree = index.split("```{toctree}")[1].split("```")[0]
    assert {page.stem for page in PAGES} - {"index"} == set(re.findall(r"^\w+$", toctree, re.M))


ADDED_TO_POLICIES = """share_features_extractor critic_optimizer_class critic_optimizer_kwargs
    std_bounds std_init scale_actions""".split()


def test_parameters_are_listed_with_their_defaults() -> None:
    page = (ROOT / "docs" / "parameters.md").read_text()
    own, added = page.split("## Arguments of the policy")
    arguments = inspect.signature(TDAC.__init__).parameters
    names = [name for name, it in arguments.items() if it.default is not it.empty]
    listed(own, arguments, [name for name in names if not name.startswith("_")])
    listed(added, inspect.signature(TDACPolicy.__init__).parameters, ADDED_TO_POLICIES)


def listed(text: str, arguments: Mapping[str, inspect.Parameter], names: list[str]) -> None:
    rows = re.findall(r"^\| `(\w+)` \| `([^`]*)` \|", text, re.MULTILINE)
    assert [name for name, _ in rows] == names
    for name, default in rows:
        assert default == repr(arguments[name].default).replace("'", '"'), name
