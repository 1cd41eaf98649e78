"""The pages list every command, every page and every parameter; tests/test_readme.py runs them."""

import inspect
import re
from collections.abc import Mapping
from pathlib import Path

import pytest

from sb3_tdac import TDAC
from sb3_tdac.policies import TDACPolicy

ROOT = Path(__file__).parent.parent.parent
PAGES = sorted((ROOT / "docs").glob("*.md"))


def test_the_page_lists_every_command_of_sb3_tdac() -> None:
    pytest.importorskip("rl_zoo3", reason="pip install 'sb3_tdac[zoo]'")
    from sb3_tdac.zoo.cli import COMMANDS

    text = (ROOT / "docs" / "command_line.md").read_text()
    assert set(re.findall(r"`sb3-tdac (\w+)", text)) - {"COMMAND"} == set(COMMANDS)


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
