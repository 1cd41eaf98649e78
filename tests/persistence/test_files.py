"""A model file is whole or not there, and says what is wrong with it before anything in it runs."""

import base64
import io
import itertools
import json
import os
import pathlib
import pickle
import resource
import stat
import sys
import zipfile
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from stable_baselines3 import A2C
from test_conformance_saving import pendulum, same, state
from torture import kill
from torture_files import cases, damage, failing, fault, small_model

from sb3_tdac import TDAC, __version__
from sb3_tdac.persistence import files

BROKEN = {":type:": "", ":serialized:": base64.b64encode(b"cjson\nno\n.").decode()}
OLD = Path(__file__).parents[1] / "data" / "tdac_0.1.0.zip"


@pytest.fixture(scope="module")
def model() -> TDAC:
    return small_model()


@pytest.fixture
def content(model: TDAC) -> bytes:
    memory = io.BytesIO()
    model.save(memory)
    return memory.getvalue()


def edited(content: bytes, **settings: Any) -> bytes:
    """A file with other settings."""
    memory = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(content)) as old, zipfile.ZipFile(memory, "w") as new:
        for name in old.namelist():
            entry = old.read(name)
            if name == "data":
                entry = json.dumps(json.loads(entry) | settings, indent=4).encode()
            new.writestr(name, entry)
    return memory.getvalue()


def refusal(path: Path, content: bytes | None = None) -> str:
    """What ``load`` says."""
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(ValueError) as error:
        TDAC.load(path)
    assert str(path) in str(error.value)
    return str(error.value)


# --- save ----------------------------------------------------------------------------------------


def test_a_save_that_fails_changes_nothing_and_names_file_and_remedy() -> None:
    """Disk full, quota, permission, read-only, broken; in each call, with and without a file."""
    assert {fault(*case) for case in cases()} == {"clear error, nothing changed"}


def test_the_remedy_fits_the_error(model: TDAC, tmp_path: Path) -> None:
    for code, remedy in ((28, "free some space"), (13, "a folder that you may write to")):
        with failing("write", OSError(code, "no")), pytest.raises(OSError, match=remedy):
            model.save(tmp_path / "model")


def test_a_file_that_the_system_cuts_short_does_not_take_the_place_of_the_old_one(
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
    assert next(calls) == 2 and same(state(TDAC.load(tmp_path / "model")), state(model))


def test_a_write_protected_file_is_not_replaced(
    model: TDAC, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "model.zip").write_bytes(b"the old one")
    monkeypatch.setattr(os, "access", lambda path, mode: mode != os.W_OK)  # root may always
    with pytest.raises(PermissionError, match="write-protected"):
        model.save(tmp_path / "model")
    assert (tmp_path / "model.zip").read_bytes() == b"the old one"


def test_a_link_stays_one_and_a_mode_stays(model: TDAC, tmp_path: Path) -> None:
    file, link = tmp_path / "file.zip", tmp_path / "link.zip"
    file.write_bytes(b"the old one")
    file.chmod(0o640)
    link.symlink_to(file)
    model.save(link)
    assert link.is_symlink() and stat.S_IMODE(file.stat().st_mode) == 0o640
    assert same(state(TDAC.load(file)), state(model))


@pytest.mark.filterwarnings("ignore:.* is a folder", "ignore:Path .* does not exist")
@pytest.mark.filterwarnings("ignore:Folder .* is made")
@pytest.mark.parametrize("name", ["m", "m.zip", "m.v1", "new/m", "folder", "folder.d"])
def test_names_are_those_of_sb3(model: TDAC, tmp_path: Path, name: str) -> None:
    a2c = A2C("MlpPolicy", pendulum(1), policy_kwargs=dict(net_arch=[4]))
    found = []
    for where, one in ((tmp_path / "a2c", a2c), (tmp_path / "tdac", model)):
        (where / "folder.d").mkdir(parents=True)
        (where / "folder.zip").mkdir()
        one.save(where / name)
        found.append([path.relative_to(where) for path in where.rglob("*") if path.is_file()])
    assert found[0] == found[1] and len(found[0]) == 1


def test_a_reader_sees_whole_files_while_others_write(tmp_path: Path) -> None:
    models, path = [small_model(), small_model()], tmp_path / "model"
    models[0].save(path)
    with ThreadPoolExecutor() as writers:
        writing = [writers.submit(lambda m: [m.save(path) for _ in range(10)], m) for m in models]
        while not all(task.done() for task in writing):
            assert same(state(TDAC.load(path)), state(models[0]))
        assert [task.exception() for task in writing] == [None, None]
    assert [file.name for file in tmp_path.iterdir()] == ["model.zip"]


def test_what_is_killed_while_it_saves_leaves_a_whole_file() -> None:
    found = kill(5)
    assert found["loaded and continued"] + found["kills before the first checkpoint"] == 5
    assert found["unreadable"] == found["steps lost beyond the last checkpoint"] == 0


# --- load ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("safe", [False, True])
def test_damaged_files_are_refused_or_load_identically(safe: bool) -> None:
    found = damage(rounds=2, seed=1, safe=safe)
    assert found.total() == 144 and {result for *_, result in found} == {"refused", "identical"}


def payload(marker: Path) -> dict[str, str]:
    """A setting that makes a file when it is loaded."""

    class Maker:
        def __reduce__(self) -> tuple[Callable[..., Any], tuple[Any, ...]]:
            return pathlib.Path.touch, (marker,)

    return {":type:": "", ":serialized:": base64.b64encode(pickle.dumps(Maker())).decode()}


def test_nothing_in_a_damaged_file_is_run(tmp_path: Path, content: bytes) -> None:
    marker = tmp_path / "marker"
    bad = edited(content, action_noise=payload(marker))
    at = bad.index(b"OS: ")  # in the last entry
    message = refusal(tmp_path / "bad.zip", bad[:at] + b"X" + bad[at + 1 :])
    assert "wrong checksum of system_info.txt" in message or "Bad CRC" in message
    assert not marker.exists()
    (tmp_path / "good.zip").write_bytes(bad)
    TDAC.load(tmp_path / "good")
    assert marker.exists()


def test_a_file_that_was_cut_names_the_versions_it_was_written_with(
    tmp_path: Path, content: bytes
) -> None:
    message = refusal(tmp_path / "cut.zip", content[: len(content) * 3 // 4])
    assert "cut off" in message and f"saved with sb3_tdac {__version__}, " in message
    assert f"torch {torch.__version__}" in message and f"numpy {np.__version__}" in message
    old = OLD.read_bytes()[:-100]
    assert "saved with stable_baselines3 2.7.0" in refusal(tmp_path / "old.zip", old)
    assert "does not say with which" in refusal(tmp_path / "start.zip", content[:50])


def test_foreign_files_are_refused(tmp_path: Path) -> None:
    A2C("MlpPolicy", pendulum(1), policy_kwargs=dict(net_arch=[4])).save(tmp_path / "a2c.zip")
    assert "one of another class" in (message := refusal(tmp_path / "a2c.zip"))
    assert "saved with stable_baselines3 " in message
    with zipfile.ZipFile(tmp_path / "other.zip", "w") as archive:
        archive.writestr("data", "text")
    assert "something else" in refusal(tmp_path / "other.zip")
    assert "something else" in refusal(tmp_path / "text.txt", b"text")
    assert "something else" in refusal(tmp_path / "empty.zip", b"")


def test_a_file_of_a_newer_version_is_refused(tmp_path: Path, content: bytes) -> None:
    origin = dict(format=files.FORMAT + 1, sb3_tdac="9.0.0")
    message = refusal(tmp_path / "new.zip", edited(content, _origin=origin))
    assert "newer version" in message and "saved with sb3_tdac 9.0.0" in message


@pytest.mark.parametrize("origin", [dict(format="2"), dict(format=None), [], None, 3], ids=repr)
def test_a_file_whose_origin_makes_no_sense_is_refused(
    tmp_path: Path, content: bytes, origin: Any
) -> None:
    assert "something else" in refusal(tmp_path / "odd.zip", edited(content, _origin=origin))


def test_what_does_not_fit_the_installed_versions_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: bytes
) -> None:
    """A policy whose module is not there, and a setting that is missing."""
    (tmp_path / "of_others.py").write_text(
        "from sb3_tdac.policies import TDACPolicy\nclass Policy(TDACPolicy): pass"
    )
    monkeypatch.syspath_prepend(tmp_path)
    import of_others

    TDAC(of_others.Policy, "Pendulum-v1").save(tmp_path / "model.zip")
    (tmp_path / "of_others.py").unlink()
    monkeypatch.delitem(sys.modules, "of_others")
    message = refusal(tmp_path / "model.zip")
    assert "No module named 'of_others'" in message and f"sb3_tdac {__version__}" in message
    with pytest.warns(UserWarning, match="Could not deserialize object policy_class"):
        message = refusal(tmp_path / "broken.zip", edited(content, policy_class=BROKEN))
    assert "does not fit the versions that are installed" in message


@pytest.mark.filterwarnings("ignore:Could not deserialize object")
@pytest.mark.parametrize("name", ["learning_rate", "ent_coef", "policy_kwargs"])
def test_a_setting_that_cannot_be_unpickled_is_not_replaced_by_the_default(
    tmp_path: Path, content: bytes, name: str, model: TDAC
) -> None:
    """A schedule of another Python, say."""
    message = refusal(tmp_path / "model.zip", edited(content, **{name: BROKEN}))
    assert f"['{name}'] of " in message and f"custom_objects={{'{name}': ...}}" in message
    assert f"saved with sb3_tdac {__version__}, " in message
    value = dict(net_arch=[4]) if name == "policy_kwargs" else 1e-3
    loaded = TDAC.load(tmp_path / "model", custom_objects={name: value})
    assert getattr(loaded, name) == value and same(state(loaded), state(model))
    if name != "policy_kwargs":  # SB3 allows no other than the file's
        assert getattr(TDAC.load(tmp_path / "model", **{name: 0.5}), name) == 0.5


@pytest.mark.parametrize("safe", [False, True])
def test_a_device_that_torch_does_not_know_is_not_the_fault_of_the_file(
    content: bytes, safe: bool
) -> None:
    with pytest.raises(RuntimeError, match="device string: gpu"):
        TDAC.load(io.BytesIO(content), device="gpu", safe=safe)


def test_a_damaged_file_changes_no_parameter(tmp_path: Path, content: bytes) -> None:
    model = small_model()
    before, path = state(model), tmp_path / "model.zip"
    path.write_bytes(content[:-1])
    with pytest.raises(ValueError, match="damaged"):
        model.set_parameters(str(path))
    assert same(state(model), before)


def test_a_file_that_is_not_there_is_no_damaged_one(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"none\.zip"):
        TDAC.load(tmp_path / "none")


@pytest.mark.filterwarnings("ignore:numpy.core")
def test_a_model_of_version_0_1_0_loads_and_trains_on() -> None:
    """Trained 400 steps with seed 1, ``n_steps=4``, ``net_arch=[4]`` in two environments.

    Written with the oldest versions: what NumPy 2 writes, NumPy 1 cannot read.
    """
    model = TDAC.load(OLD, pendulum())
    obs = np.array([[1, 0, 0], [-0.6, 0.8, 2.0], [0, -1, -7.5]], np.float32)
    actions = [[-0.08568691462278366], [0.02338428422808647], [-0.10234607756137848]]
    values = [[0.605800449848175], [-1.2432297468185425], [0.8534474968910217]]
    np.testing.assert_allclose(model.predict(obs, deterministic=True)[0], actions, rtol=1e-5)
    found = model.policy.predict_values(torch.as_tensor(obs)).detach()
    np.testing.assert_allclose(found, values, rtol=1e-5)
    assert (model.num_timesteps, model._n_updates) == (400, 50)
    assert model.resume(8).num_timesteps == 408
