"""The pages' code runs, their commands exist, their links lead somewhere, and they tell the truth.

Pages are README.md, the site in docs/, and what a reader finds beside configurations and examples.
"""

import functools
import inspect
import os
import pydoc
import re
import sys
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
import yaml
from helpers import command_lines
from helpers.command_lines import FENCE, ROOT, commands, without_fences
from mktestdocs import check_md_file
from mktestdocs.__main__ import grab_code_blocks
from stable_baselines3 import A2C, PPO
from stable_baselines3.common import evaluation
from stable_baselines3.common.evaluation import evaluate_policy

from sb3_tdac import TDAC, __version__, equations
from sb3_tdac.tdac import TDAC as ALGORITHM

DOCS = ROOT / "docs"
SITE = (
    "index quickstart algorithm parameters logged_values own_environment command_line sweeps "
    "comparisons files errors sharing speed results developing api changelog"
).split()
FRONT_PAGE = ROOT / "README.md"
README = FRONT_PAGE.read_text()
PAGES = [FRONT_PAGE, *sorted(DOCS.glob("*.md"))]
#: Pages without code of their own.
OTHERS = [ROOT / "CONTRIBUTING.md", ROOT / "zoo_configs" / "README.md"]
OTHERS += sorted((ROOT / "examples").rglob("README.md"))
#: Records of measurements: they stay as they were.
REPORTS = sorted({*(ROOT / "examples").rglob("*.md")} - {*OTHERS})
TEXT = {path: path.read_text() for path in [*PAGES, *OTHERS]}
TESTS = "".join(path.read_text() for path in (ROOT / "tests").rglob("test_*.py"))
#: Languages of blocks: Python runs, shell commands are parsed, YAML is read.
LANGUAGES = {"python", "sh", "bash", "console", "text", "yaml", "bibtex", "toml", ""}
COMMANDS = [
    pytest.param(command, id=f"{path.relative_to(ROOT)}: {command}")
    for path in TEXT
    for command in commands(TEXT[path])
]
#: Texts that name paths and options of scripts; the changelog also names former ones.
SOURCES = [
    *(path for path in TEXT if path.name != "changelog.md"),
    ROOT / "Makefile",
    *(ROOT / "zoo_configs").glob("*.yml"),
    *(path for folder in ("sb3_tdac", "examples") for path in (ROOT / folder).rglob("*.py")),
]


def name_of(path: Path) -> str:
    return str(path.relative_to(ROOT))


# --- code ---------------------------------------------------------------------------------------


def test_the_code_of_the_front_page_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    check_md_file(FRONT_PAGE, lang="python")


# SB3 and gymnasium recommend things to the author of an environment.
@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize("page", sorted(DOCS.glob("*.md")), ids=name_of)
def test_the_code_of_the_site_runs(
    page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A block uses the names of the blocks above it; one that starts with ``# NAME.py`` is a file.

    Training and evaluation are cut short.
    """
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    for algorithm in (TDAC, A2C, PPO):
        monkeypatch.setattr(algorithm, "learn", shortened(algorithm.learn, 5_000))
    monkeypatch.setattr(evaluation, "evaluate_policy", two_episodes)
    names: dict[str, object] = {"__name__": "__main__"}
    for block in grab_code_blocks(TEXT[page], lang="python"):
        file = re.match(r"# (\w+\.py)\n", block)
        if file:
            Path(file[1]).write_text(block)
        else:
            exec(compile(block, name_of(page), "exec"), names)
    for file in tmp_path.glob("*.py"):
        sys.modules.pop(file.stem, None)


def shortened(learn: Callable[..., object], most: int) -> Callable[..., object]:
    """Learn for fewer steps."""

    @functools.wraps(learn)
    def learn_less(self: object, total_timesteps: int, *more: object, **options: object) -> object:
        return learn(self, min(total_timesteps, most), *more, **options)

    return learn_less


def two_episodes(*arguments: Any, n_eval_episodes: int = 10, **options: Any) -> Any:
    """Evaluate in two episodes."""
    return evaluate_policy(*arguments, n_eval_episodes=2, **options)


@pytest.mark.parametrize("page", TEXT, ids=name_of)
def test_every_block_has_a_language_that_is_checked(page: Path) -> None:
    for language, block in FENCE.findall(TEXT[page]):
        is_directive = re.match(r"\{[\w-]+\}", language) and "code" not in language
        assert language in LANGUAGES or is_directive, language
        if language == "yaml":
            yaml.safe_load(block)


def test_pages_without_tests_of_code_have_none() -> None:
    for page in OTHERS:
        assert "```python" not in TEXT[page], page


# --- commands -----------------------------------------------------------------------------------


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_line_is_one_of_its_parser(
    command: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if command.startswith("sb3-tdac") and not find_spec("rl_zoo3"):
        pytest.skip("needs rl_zoo3: pip install 'sb3_tdac[zoo]'")
    monkeypatch.chdir(ROOT)
    command_lines.check(command, monkeypatch)


@pytest.mark.parametrize(
    "command",
    [
        "sb3-tdac trian --env Pendulum-v1",
        "sb3-tdac train --no-such-option 1",
        "sb3-tdac compare --from examples/benchmarks/results/compare --sedes 3",
        "python examples/lqr.py --no-such-option 1",
        "python examples/benchmarks/search_defaults.py serach --seeds 1",
        "python examples/benchmarks/torture.py no-such-part",
        "make no-such-target",
        'pip install ".[no-such-extra]"',
    ],
)
def test_a_wrong_command_is_found(command: str, monkeypatch: pytest.MonkeyPatch) -> None:
    if "sb3-tdac" in command or "search_defaults" in command:
        pytest.importorskip("rl_zoo3", reason="needs rl_zoo3: pip install 'sb3_tdac[zoo]'")
    page = f"Text, then `{command}`.\n"
    assert commands(page) == [command]
    with pytest.raises(Exception):  # noqa: B017 - each program has its own
        command_lines.check(command, monkeypatch)


def test_commands_are_found_in_blocks_and_over_line_ends() -> None:
    page = "a `sb3-tdac train\n--env X` b\n\n```sh\n$ make \\\n  demo\nls\n```\n\n`maker`\n"
    assert commands(page) == ["make demo", "sb3-tdac train --env X"]


def test_every_named_path_exists() -> None:
    """Paths from the root of the repository, and the options of scripts in commands."""
    for file in SOURCES:
        text = file.read_text()
        for path in re.findall(r"(?<![\w/])examples/[\w./-]*\w", text):
            assert (ROOT / path).exists(), f"{path} in {file}"
        for script, arguments in re.findall(r"python (examples/[\w/]+\.py)([^`\n]*)", text):
            for option in re.findall(r"(?<= )--[\w-]+", arguments):
                known = (ROOT / script).read_text()
                assert f'"{option}"' in known, f"{script} {option} in {file}"


# --- links --------------------------------------------------------------------------------------


def links(text: str) -> list[str]:
    """The targets of links and pictures, also of MyST's directives."""
    directives = re.findall(r"^ *```\{(?:image|figure|include)\} (\S+)", text, re.MULTILINE)
    prose = re.sub(r"(`+)[^`]+\1", "code", without_fences(text))
    references = re.findall(r"^\[[^\]]+\]: (\S+)", prose, re.MULTILINE)
    tags = re.findall(r"(?:src|srcset|href)=\"([^\"]+)\"", prose)
    return directives + re.findall(r"\]\(([^)\s]+)\)", prose) + references + tags


def anchors(text: str) -> set[str]:
    """The anchors of a page: its headings, as GitHub and MyST name them, and its own names."""
    found = set(re.findall(r"^\(([\w-]+)\)=$", text, re.MULTILINE))
    found |= set(re.findall(r"<\w+ (?:id|name)=\"([^\"]+)\"", text))
    for heading in re.findall(r"^#+ (.*)$", without_fences(text), re.MULTILINE):
        words = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading).strip().lower()
        slug = re.sub(r"[^\w\- ]", "", words).replace(" ", "-")
        repeated = len([known for known in found if re.fullmatch(rf"{slug}(-\d+)?", known)])
        found.add(f"{slug}-{repeated}" if repeated else slug)
    return found


def has_target(page: Path, link: str) -> bool:
    """Whether a link leads to a file, and to a heading or an object of the API in it."""
    path, _, anchor = link.partition("#")
    target = Path(os.path.normpath(page.parent / path)) if path else page
    if not target.exists() or not target.is_relative_to(ROOT):
        return False
    if not anchor:
        return True
    if anchor.startswith("sb3_tdac."):  # Sphinx gives the object this name
        return pydoc.locate(anchor) is not None
    return target.suffix != ".md" or anchor in anchors(target.read_text())


@pytest.mark.parametrize("page", [*TEXT, *REPORTS], ids=name_of)
def test_every_internal_link_leads_somewhere(page: Path) -> None:
    dead = [link for link in links(page.read_text()) if not re.match(r"\w+:", link)]
    dead = [link for link in dead if not has_target(page, link)]
    assert not dead


def test_dead_links_are_found() -> None:
    text = "# A [title](x) of `code`!\n## B\n## B\n[`a`](docs/no.md) ![](b.png) `[c](d)`\n"
    assert links(text) == ["x", "docs/no.md", "b.png"]
    assert anchors(text) == {"a-title-of-code", "b", "b-1"}
    assert has_target(FRONT_PAGE, "#results") and has_target(
        FRONT_PAGE, "docs/developing.md#layers"
    )
    for link in ("docs/no.md", "#no", "docs/developing.md#no", "api.md#sb3_tdac.no", "../no"):
        assert not has_target(FRONT_PAGE, link)


@pytest.mark.parametrize("page", SITE)
def test_every_page_of_the_site_is_there_and_the_front_page_links_it(page: str) -> None:
    assert f"(docs/{page}.md)" in README
    assert (DOCS / f"{page}.md").is_file()


# --- statements ---------------------------------------------------------------------------------


def test_the_front_page_is_short() -> None:
    lines = README.splitlines()
    assert len(lines) <= 150
    assert all(len(line) < 120 or line.startswith("|") for line in lines)


def test_every_equation_has_a_row_with_tests() -> None:
    """A row of a page, or the markers of which the site makes its table."""
    rows = re.findall(
        r"^(?:\| )?\(4\.(\d+)\)(?: to \(4\.(\d+)\))? \|", "\n".join(TEXT.values()), re.MULTILINE
    )
    ranges = [range(int(first), int(last or first) + 1) for first, last in rows]
    assert {number for numbers in ranges for number in numbers} == set(range(1, 27))


def test_every_named_test_exists() -> None:
    for page in TEXT:
        for test in re.findall(r"`(test_\w+)`", TEXT[page]):
            assert f"def {test}(" in TESTS, f"{test} in {page}"


def test_every_equation_of_the_update_is_a_named_function() -> None:
    for name in ("td_target", "critic_loss", "td_advantage", "actor_loss", "gaussian_log_prob"):
        assert any(f"`{name}`" in TEXT[page] for page in PAGES), name
        assert hasattr(equations, name)


def test_hyperparameters_are_listed_with_their_defaults() -> None:
    """On one page: docs/parameters.md."""
    parameters = inspect.signature(TDAC.__init__).parameters
    text = "\n".join(TEXT[page] for page in PAGES if page.stem == "parameters")
    rows = dict(re.findall(r"^\| `(\w+)` \| `([^`]*)` \|", text, re.MULTILINE))
    for name, parameter in parameters.items():
        if parameter.default is not inspect.Parameter.empty and not name.startswith("_"):
            assert rows[name] == repr(parameter.default).replace("'", '"'), name
    assert ALGORITHM is TDAC


def test_every_tuned_configuration_has_its_search() -> None:
    text = (ROOT / "zoo_configs" / "tdac.yml").read_text()
    tuned = re.findall(r"^# tuned\n([\w-]+):", text, re.MULTILINE)
    sections = TEXT[ROOT / "zoo_configs" / "README.md"].split("\n### ")[1:]
    assert len(tuned) == text.count("\n# tuned\n")
    assert [section.split("\n")[0] for section in sections] == tuned
    assert all(
        f"--env {name}" in it or f"--problems {name}" in it
        for name, it in zip(tuned, sections, strict=True)
    )


def test_the_citation_is_of_this_version_and_licence() -> None:
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    assert {"cff-version", "message", "title", "authors"} <= set(citation)
    assert citation["version"] == __version__
    project = (ROOT / "pyproject.toml").read_text()
    assert f'license = "{citation["license"]}"' in project
