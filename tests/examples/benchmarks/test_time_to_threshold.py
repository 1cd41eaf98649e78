"""The race to a return is fair."""

from pathlib import Path
from typing import Any

import pytest
import time_to_threshold
from time_to_threshold import contender, run


@pytest.mark.parametrize("name", ["A2C", "PPO", "SAC"])
def test_contenders_have_the_configurations_of_rl_zoo3(name: str) -> None:
    rl_zoo3, yaml = pytest.importorskip("rl_zoo3"), pytest.importorskip("yaml")
    path = Path(rl_zoo3.__file__).parent / "hyperparams" / f"{name.lower()}.yml"
    entry: dict[str, Any] = yaml.safe_load(path.read_text())[time_to_threshold.ENV]
    assert entry.pop("policy") == "MlpPolicy" and entry.pop("n_timesteps")
    _, _, n_envs, normalize, settings = contender(name)
    assert entry.pop("n_envs", 1) == n_envs and entry.pop("normalize", False) == normalize
    if "policy_kwargs" in entry:
        assert eval(entry.pop("policy_kwargs")) == settings.pop("policy_kwargs")
    if str(entry["learning_rate"]).startswith("lin_"):
        initial = float(entry.pop("learning_rate").removeprefix("lin_"))
        assert [settings["learning_rate"](part) for part in (1.0, 0.5)] == [initial, initial / 2]
        del settings["learning_rate"]
    assert entry == settings


def test_training_ends_at_the_first_evaluation_that_reaches_the_threshold(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(time_to_threshold.LONGEST, "TDAC", 256)
    monkeypatch.setitem(time_to_threshold.EVAL_FREQ, "TDAC", 64)
    for threshold, steps in ((-1e9, 64), (0.0, 256)):
        monkeypatch.setattr(time_to_threshold, "THRESHOLD", threshold)
        run("TDAC", 0)
        assert int(capsys.readouterr().out.split()[0]) == steps
