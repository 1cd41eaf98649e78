"""The README's code runs, and what it says of the code is so."""

import inspect
import re
from pathlib import Path

import pytest
from mktestdocs import check_md_file

from sb3_tdac import TDAC, equations
from sb3_tdac.tdac import TDAC as ALGORITHM

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text()


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
    sources = "".join(path.read_text() for path in (ROOT / "tests").glob("test_*.py"))
    for _, _, text in rows:
        tests = re.findall(r"`(test_\w+)`", text)
        assert tests
        assert all(f"def {test}(" in sources for test in tests), text


def test_every_named_test_exists() -> None:
    sources = "".join(path.read_text() for path in (ROOT / "tests").glob("test_*.py"))
    for test in re.findall(r"`(test_\w+)`", README):
        assert f"def {test}(" in sources, test


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
