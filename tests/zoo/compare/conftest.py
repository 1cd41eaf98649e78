"""Fixtures of the tests of comparisons."""

import shutil
from pathlib import Path

import pytest
from helpers.zoo import COMPARE

from sb3_tdac.zoo.cli import main


@pytest.fixture(scope="session")
def compared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with eight runs, which no test may change."""
    folder = tmp_path_factory.mktemp("compared")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        assert main(COMPARE) == 0
    return folder


@pytest.fixture
def compared_here(compared: Path, here: Path) -> Path:
    """A copy of it, as the current folder."""
    shutil.copytree(compared, here, dirs_exist_ok=True)
    return here


@pytest.fixture
def without_pictures(monkeypatch: pytest.MonkeyPatch) -> None:
    """Draw no pictures: they take most of the time of a test of tables."""
    monkeypatch.setattr("sb3_tdac.zoo.compare.command.draw", lambda *_: None)
