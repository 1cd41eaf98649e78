"""The README's code runs, and its statements about the code are true."""

import inspect
import re
from pathlib import Path

import pytest
from mktestdocs import check_md_file

from sb3_tdac import TDAC, equations
from sb3_tdac.tdac import TDAC as ALGORITHM

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text()
TESTS = "".join(path.read_text() for path in (ROOT / "tests").rglob("test_*.py"))
#: Texts that name commands and paths; the changelog also names former ones.
TEXTS = [
    *(ROOT / name for name in ("README.md", "Makefile")),
    *(ROOT / "zoo_configs").glob("*.yml"),
    *(ROOT / "examples").rglob("*.md"),
    *(path for folder in ("sb3_tdac", "examples") for path in (ROOT / folder).rglob("*.py")),
]


def test_every_code_block_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    check_md_file(ROOT / "README.md", lang="python")


def test_every_code_block_is_python() -> None:
    fences = re.findall(r"^```(.*)$", README, flags=re.MULTILINE)
    assert set(fences[0::2]) == {"python"}
    assert set(fences[1::2]) == {""}


def test_every_equation_has_a_row_with_tests_that_exist() -> None:
    rows = re.findall(r"^\| \(4\.(\d+)\)(?: to \(4\.(\d+)\))? \|(.*)\|$", README, re.MULTILINE)
    covered = {
        number for first, last, _ in rows for number in range(int(first), int(last or first) + 1)
    }
    assert covered == set(range(1, 27))
    for _, _, text in rows:
        tests = re.findall(r"`(test_\w+)`", text)
        assert tests
        assert all(f"def {test}(" in TESTS for test in tests), text


def test_every_named_test_exists() -> None:
    for test in re.findall(r"`(test_\w+)`", README):
        assert f"def {test}(" in TESTS, test


def test_every_named_function_exists() -> None:
    for name in ("td_target", "critic_loss", "td_advantage", "actor_loss", "gaussian_log_prob"):
        assert f"`{name}`" in README
        assert hasattr(equations, name)


def test_hyperparameters_are_listed_with_their_defaults() -> None:
    parameters = inspect.signature(TDAC.__init__).parameters
    rows = dict(re.findall(r"^\| `(\w+)` \| `([^`]*)` \|", README, re.MULTILINE))
    for name, parameter in parameters.items():
        if parameter.default is not inspect.Parameter.empty and not name.startswith("_"):
            assert rows[name] == repr(parameter.default).replace("'", '"'), name
    assert ALGORITHM is TDAC


def test_every_named_example_and_result_exists() -> None:
    """Paths from the root of the repository, and the options of scripts in commands."""
    for file in TEXTS:
        text = file.read_text()
        for path in re.findall(r"(?<![\w/])examples/[\w./-]*\w", text):
            assert (ROOT / path).exists(), f"{path} in {file}"
        for script, arguments in re.findall(r"python (examples/[\w/]+\.py)([^`\n]*)", text):
            for option in re.findall(r"(?<= )--[\w-]+", arguments):
                known = (ROOT / script).read_text()
                assert f'"{option}"' in known, f"{script} {option} in {file}"


def test_every_link_leads_to_a_file() -> None:
    for readme in (ROOT / "README.md", *(ROOT / "examples").rglob("README.md")):
        for target in re.findall(r"\]\(([^)#]+)\)", readme.read_text()):
            assert "://" in target or (readme.parent / target).exists(), target
