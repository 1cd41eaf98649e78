"""``load`` refuses a file that is damaged or foreign, and says why, before anything in it runs."""

import base64
import io
import pathlib
import pickle
import re
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from helpers.environments import pendulum, small_model
from helpers.model_state import assert_identical, file_of, state
from helpers.saved_models import DATA, with_settings
from stable_baselines3 import A2C
from torch.utils._pytree import tree_leaves
from torture_files import damage, damaged, outcome

from sb3_tdac import TDAC, __version__
from sb3_tdac.persistence import files
from sb3_tdac.persistence.plain_model import SETTINGS, WEIGHTS

BROKEN = {":type:": "", ":serialized:": base64.b64encode(b"cjson\nno\n.").decode()}


@pytest.fixture(scope="module")
def model() -> TDAC:
    return small_model().learn(40)


@pytest.fixture
def content(model: TDAC) -> bytes:
    return file_of(model)


def refusal(path: Path, content: bytes | None = None) -> str:
    """The message with which ``load`` refuses the file."""
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(ValueError) as error:
        TDAC.load(path)
    assert str(path) in str(error.value)
    return str(error.value)


@pytest.mark.parametrize("safe", [False, True])
def test_damaged_files_are_refused_or_load_identically(safe: bool) -> None:
    found = damage(rounds=2, seed=1, safe=safe)
    assert found.total() == 144 and {result for *_, result in found} == {"refused", "identical"}


def test_damage_to_the_plain_form_is_refused_or_loads_identically(
    tmp_path: Path, content: bytes, model: TDAC
) -> None:
    """Only in the parts that ``safe=True`` reads."""
    expected = tree_leaves(model.get_parameters())
    results = [
        outcome(tmp_path / "model.zip", bad, expected, safe=True)
        for _, part, bad in damaged(content, rounds=10, seed=2)
        if part.endswith((SETTINGS, WEIGHTS)) or part in ("central directory", "end record")
    ]
    assert len(results) == 180 and {*results} == {"refused", "identical"}


def payload(marker: Path) -> dict[str, str]:
    """A setting that makes a file when it is loaded."""

    class Maker:
        def __reduce__(self) -> tuple[Callable[..., Any], tuple[Any, ...]]:
            return pathlib.Path.touch, (marker,)

    return {":type:": "", ":serialized:": base64.b64encode(pickle.dumps(Maker())).decode()}


def test_nothing_in_a_damaged_file_is_run(tmp_path: Path, content: bytes) -> None:
    marker = tmp_path / "marker"
    bad = with_settings(content, action_noise=payload(marker))
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
    old = (DATA / "tdac_0.1.0.zip").read_bytes()[:-100]
    assert "saved with stable_baselines3 2.7.0" in refusal(tmp_path / "old.zip", old)
    assert "does not say with which" in refusal(tmp_path / "start.zip", content[:50])


def zipped(data: str) -> bytes:
    with zipfile.ZipFile(file := io.BytesIO(), "w") as archive:
        archive.writestr("data", data)
    return file.getvalue()


FOREIGN: dict[str, tuple[Any, str]] = {
    "A2C": (
        lambda: file_of(A2C("MlpPolicy", pendulum(1), policy_kwargs=dict(net_arch=[4]))),
        "(?s)one of another class.*saved with stable_baselines3 ",
    ),
    "other zip": (lambda: zipped("no json"), "something else"),
    "other json": (lambda: zipped("3"), "something else"),
    "no zip": (lambda: bytes(range(256)), "something else"),
    "text": (lambda: b"text", "something else"),
    "empty": (lambda: b"", "something else"),
    "cut": (lambda: file_of(small_model())[:-1], "(?s)cut off.*saved with sb3_tdac "),
}


@pytest.mark.parametrize(("make", "reason"), FOREIGN.values(), ids=FOREIGN)
def test_a_foreign_or_cut_file_is_refused_and_changes_no_parameter(
    tmp_path: Path, model: TDAC, make: Any, reason: str
) -> None:
    message = refusal(tmp_path / "model.zip", make())
    assert message.startswith("path must be a model saved by TDAC") and re.search(reason, message)
    before = state(model)
    with pytest.raises((ValueError, RuntimeError)):
        model.set_parameters(str(tmp_path / "model.zip"))
    assert_identical(state(model), before)


def test_a_file_of_a_newer_version_is_refused(tmp_path: Path, content: bytes) -> None:
    origin = dict(format=files.FORMAT + 1, sb3_tdac="9.0.0")
    message = refusal(tmp_path / "new.zip", with_settings(content, _origin=origin))
    assert "newer version" in message and "saved with sb3_tdac 9.0.0" in message


@pytest.mark.parametrize("origin", [dict(format="2"), dict(format=None), [], None, 3], ids=repr)
def test_a_file_whose_origin_makes_no_sense_is_refused(
    tmp_path: Path, content: bytes, origin: Any
) -> None:
    assert "something else" in refusal(tmp_path / "odd.zip", with_settings(content, _origin=origin))


def test_a_file_that_does_not_fit_the_installed_versions_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: bytes
) -> None:
    """The module of its policy is missing, or a setting cannot be unpickled."""
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
        message = refusal(tmp_path / "broken.zip", with_settings(content, policy_class=BROKEN))
    assert "does not fit the versions that are installed" in message


@pytest.mark.filterwarnings("ignore:Could not deserialize object")
@pytest.mark.parametrize("name", ["learning_rate", "ent_coef", "policy_kwargs"])
def test_a_setting_that_cannot_be_unpickled_is_not_replaced_by_the_default(
    tmp_path: Path, content: bytes, name: str, model: TDAC
) -> None:
    """A schedule of another Python, say."""
    message = refusal(tmp_path / "model.zip", with_settings(content, **{name: BROKEN}))
    assert f"['{name}'] of " in message and f"custom_objects={{'{name}': ...}}" in message
    assert f"saved with sb3_tdac {__version__}, " in message
    value = dict(net_arch=[8]) if name == "policy_kwargs" else 1e-3
    loaded = TDAC.load(tmp_path / "model", custom_objects={name: value})
    assert getattr(loaded, name) == value
    assert_identical(state(loaded), state(model))
    if name != "policy_kwargs":  # SB3 allows no other than the file's
        assert getattr(TDAC.load(tmp_path / "model", **{name: 0.5}), name) == 0.5


@pytest.mark.parametrize("safe", [False, True])
def test_a_device_that_torch_does_not_know_is_not_the_fault_of_the_file(
    content: bytes, safe: bool
) -> None:
    with pytest.raises(RuntimeError, match="device string: gpu"):
        TDAC.load(io.BytesIO(content), device="gpu", safe=safe)


@pytest.mark.parametrize("safe", [False, True])
def test_a_missing_file_is_not_called_damaged(tmp_path: Path, safe: bool) -> None:
    with pytest.raises(FileNotFoundError, match=r"none\.zip"):
        TDAC.load(tmp_path / "none", safe=safe)
