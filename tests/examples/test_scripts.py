"""Each script runs from its own folder and has a line in the README of the folder."""

import re
import runpy
import sys
from pathlib import Path

import pytest
from helpers.scripts import EXAMPLES

FOLDERS = [EXAMPLES, EXAMPLES / "benchmarks"]
SCRIPTS = [path for folder in FOLDERS for path in sorted(folder.glob("*.py"))]
COMMANDS = [path for path in SCRIPTS if "argparse" in path.read_text()]


@pytest.mark.parametrize("folder", FOLDERS)
def test_the_readme_has_a_line_for_each_script(folder: Path) -> None:
    text = (folder / "README.md").read_text()
    named = re.findall(r"^\| \[?`(\w+\.py)", text, re.MULTILINE)
    expected = [path for path in SCRIPTS if path.parent == folder]
    if folder.name == "benchmarks":  # the other modules are parts of these
        expected = [path for path in expected if path in COMMANDS]
    assert sorted(named) == [path.name for path in expected]


def test_a_user_reads_at_most_ten_scripts() -> None:
    assert len([*EXAMPLES.glob("*.py")]) <= 10


@pytest.mark.parametrize("script", COMMANDS, ids=lambda path: path.stem)
def test_a_script_finds_its_modules_and_explains_itself(
    script: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """As ``python SCRIPT --help`` from any folder: only the script's own folder is in the path."""
    if script.stem == "search_defaults":
        pytest.importorskip("rl_zoo3", reason="needs rl_zoo3: pip install 'sb3_tdac[zoo]'")
    for name, module in [*sys.modules.items()]:
        if Path(getattr(module, "__file__", None) or ".").is_relative_to(EXAMPLES):
            monkeypatch.delitem(sys.modules, name)
    elsewhere = [entry for entry in sys.path if not Path(entry).is_relative_to(EXAMPLES)]
    monkeypatch.setattr(sys, "path", [str(script.parent), *elsewhere])
    monkeypatch.setattr(sys, "argv", [str(script), "--help"])
    with pytest.raises(SystemExit) as ended:
        runpy.run_path(str(script), run_name="__main__")
    assert ended.value.code == 0
    sentence = r"\n\n[A-Z].*(\n.+)?[.:]\n\n"
    assert re.search(rf"^usage: {script.name}[\s\S]*?{sentence}", capsys.readouterr().out)
