"""``save`` writes a whole file, or leaves the old one and names the remedy."""

import itertools
import os
import pathlib
import resource
import stat
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from helpers.environments import pendulum, small_model
from helpers.model_state import assert_identical, state
from stable_baselines3 import A2C
from torture import kill
from torture_files import cases, failing, fault

from sb3_tdac import TDAC


def trained_model() -> TDAC:
    return small_model().learn(40)


@pytest.fixture(scope="module")
def model() -> TDAC:
    return trained_model()


def test_a_save_that_fails_changes_nothing_and_names_file_and_remedy() -> None:
    """Disk full, quota, permission, read-only, broken; in each call, with and without a file."""
    assert {fault(*case) for case in cases()} == {"clear error, nothing changed"}


def test_the_remedy_fits_the_error(model: TDAC, tmp_path: Path) -> None:
    for code, remedy in ((28, "free some space"), (13, "a folder that you may write to")):
        with failing("write", OSError(code, "no")), pytest.raises(OSError, match=remedy):
            model.save(tmp_path / "model")


def test_a_file_that_the_system_cuts_short_does_not_replace_the_old_one(
    model: TDAC, tmp_path: Path
) -> None:
    """With a real limit, of 10 kB."""
    path = tmp_path / "model.zip"
    path.write_bytes(b"the old one")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, hard))
    try:
        with pytest.raises(OSError, match=r"File too large: .*save to another place"):
            model.save(path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert path.read_bytes() == b"the old one" and [*tmp_path.iterdir()] == [path]


@pytest.mark.parametrize("call", ["open", "write", "fsync", "rename"])
def test_ctrl_c_while_saving_leaves_the_old_file_and_nothing_else(
    model: TDAC, tmp_path: Path, call: str
) -> None:
    path = tmp_path / "model.zip"
    path.write_bytes(b"the old one")
    with failing(call, KeyboardInterrupt()), pytest.raises(KeyboardInterrupt):
        model.save(path)
    assert path.read_bytes() == b"the old one" and [*tmp_path.iterdir()] == [path]


def test_where_a_folder_cannot_be_synced_the_file_is_saved(
    model: TDAC, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = itertools.count()
    monkeypatch.setattr(os, "fsync", lambda _: next(calls) and pathlib.Path("no/folder").stat())
    model.save(tmp_path / "model")
    assert next(calls) == 2
    assert_identical(state(TDAC.load(tmp_path / "model")), state(model))


def test_a_write_protected_file_is_not_replaced(
    model: TDAC, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "model.zip").write_bytes(b"the old one")
    monkeypatch.setattr(os, "access", lambda path, mode: mode != os.W_OK)  # root may always
    with pytest.raises(PermissionError, match="write-protected"):
        model.save(tmp_path / "model")
    assert (tmp_path / "model.zip").read_bytes() == b"the old one"


def test_saving_keeps_a_link_and_the_mode_of_its_file(model: TDAC, tmp_path: Path) -> None:
    file, link = tmp_path / "file.zip", tmp_path / "link.zip"
    file.write_bytes(b"the old one")
    file.chmod(0o640)
    link.symlink_to(file)
    model.save(link)
    assert link.is_symlink() and stat.S_IMODE(file.stat().st_mode) == 0o640
    assert_identical(state(TDAC.load(file)), state(model))


@pytest.mark.filterwarnings("ignore:.* is a folder", "ignore:Path .* does not exist")
@pytest.mark.filterwarnings("ignore:Folder .* is made")
@pytest.mark.parametrize("name", ["m", "m.zip", "m.v1", "new/m", "folder", "folder.d"])
def test_file_names_are_those_that_sb3_gives(model: TDAC, tmp_path: Path, name: str) -> None:
    a2c = A2C("MlpPolicy", pendulum(1), policy_kwargs=dict(net_arch=[4]))
    found = []
    for where, one in ((tmp_path / "a2c", a2c), (tmp_path / "tdac", model)):
        (where / "folder.d").mkdir(parents=True)
        (where / "folder.zip").mkdir()
        one.save(where / name)
        found.append([path.relative_to(where) for path in where.rglob("*") if path.is_file()])
    assert found[0] == found[1] and len(found[0]) == 1


def test_a_reader_sees_whole_files_while_others_write(tmp_path: Path) -> None:
    models, path = [trained_model(), trained_model()], tmp_path / "model"
    models[0].save(path)
    with ThreadPoolExecutor() as writers:
        writing = [writers.submit(lambda m: [m.save(path) for _ in range(10)], m) for m in models]
        while not all(task.done() for task in writing):
            assert_identical(state(TDAC.load(path)), state(models[0]))
        assert [task.exception() for task in writing] == [None, None]
    assert [file.name for file in tmp_path.iterdir()] == ["model.zip"]


@pytest.mark.serial
def test_a_process_that_is_killed_while_it_saves_leaves_a_whole_file() -> None:
    found = kill(5)
    assert found["loaded and continued"] + found["kills before the first checkpoint"] == 5
    assert found["unreadable"] == found["steps lost beyond the last checkpoint"] == 0
