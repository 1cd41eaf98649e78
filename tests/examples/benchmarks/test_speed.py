"""Contenders take turns, ratios are of times in one round, and results go to files."""

import inspect
import re
import sys
import time
from pathlib import Path
from typing import Any

import gymnasium as gym
import matplotlib.image
import numpy as np
import pandas as pd
import pytest
import speed_contenders
import speed_measure
import stable_baselines3
from gymnasium import spaces
from speed import compare, parse, sweep
from speed_contenders import EQUAL_WORK, Contender, Setting, build
from speed_measure import measure, measure_memory, summarize
from speed_profile import RULES, measure_profile, part_of, sample
from stable_baselines3 import A2C
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.env_util import make_vec_env

import sb3_tdac
from sb3_tdac import TDAC


class FakeMachine:
    """A clock that only its contenders move; ``slowness`` multiplies their times."""

    def __init__(self) -> None:
        self.now, self.slowness = 0.0, 1.0
        self.calls: list[str] = []

    def contender(self, name: str, cost: float, rollout: int = 1) -> Contender:
        def run(steps: int) -> None:
            assert steps % rollout == 0
            self.calls.append(name)
            self.now += self.slowness * cost * steps

        return Contender(run, rollout)


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> FakeMachine:
    fake = FakeMachine()
    monkeypatch.setattr(time, "process_time", lambda: fake.now)
    return fake


def test_contenders_take_turns_and_each_round_starts_with_another(machine: FakeMachine) -> None:
    contenders = {name: machine.contender(name, 1e-3) for name in ("A2C", "TDAC", "bound")}
    measure(contenders, rounds=3, seconds=0.01)
    rounds = [machine.calls[-9:-6], machine.calls[-6:-3], machine.calls[-3:]]
    assert rounds == [
        ["A2C", "TDAC", "bound"],
        ["TDAC", "bound", "A2C"],
        ["bound", "A2C", "TDAC"],
    ]
    # before them each ran until the length of its turn, 10 steps, was known: 1 + 2 + 4 + 8
    assert machine.calls[:-9] == ["A2C"] * 4 + ["TDAC"] * 4 + ["bound"] * 4


def test_a_turn_lasts_as_long_as_it_should_in_whole_rollouts(machine: FakeMachine) -> None:
    contenders = {
        "A2C": machine.contender("A2C", 1e-3, rollout=5),
        "PPO": machine.contender("PPO", 1e-3, rollout=2048),
    }
    measure(contenders, rounds=1, seconds=0.1)
    before = machine.now
    contenders["A2C"].run(5)
    assert machine.now - before == pytest.approx(0.005)
    # warm-up 5, 10, 20, 40, 80 steps (the last is more than half of 0.1 s) and one rollout of PPO,
    # then 100 steps, the 0.1 s, and PPO's shortest turn, one rollout
    assert before == pytest.approx(1e-3 * (5 + 10 + 20 + 40 + 80 + 2048 + 100 + 2048))


def test_speed_and_share_are_ratios_of_known_costs(machine: FakeMachine) -> None:
    costs = {"A2C": 8e-4, "TDAC": 2e-4, "bound": 1e-4}
    contenders = {name: machine.contender(name, cost) for name, cost in costs.items()}
    summary = summarize(measure(contenders, rounds=4, seconds=0.01)).set_index("contender")
    assert summary.us.to_dict() == pytest.approx({"A2C": 800, "TDAC": 200, "bound": 100})
    assert summary.speed.to_dict() == pytest.approx({"A2C": 1, "TDAC": 4, "bound": 8})
    assert summary.share.to_dict() == pytest.approx({"A2C": 1 / 8, "TDAC": 1 / 2, "bound": 1})


def test_a_slow_round_changes_no_ratio() -> None:
    # the machine is 1, 3 and 10 times as slow in the three rounds; the quartiles are of the ratios
    # 4, 4 and 5, not of the times
    times = pd.DataFrame(
        [
            {"contender": name, "round": number, "us": us * slowness}
            for number, slowness in enumerate((1, 3, 10))
            for name, us in (("A2C", 800), ("TDAC", 160 if number == 2 else 200))
        ]
    )
    tdac = summarize(times).set_index("contender").loc["TDAC"]
    assert (tdac.speed_q25, tdac.speed, tdac.speed_q75) == pytest.approx((4.0, 4.0, 4.5))
    assert tdac.us == pytest.approx(600)


def test_comparison_writes_a_row_for_each_contender_and_a_picture(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(speed_contenders, "PPO_ROLLOUT", 256)
    compare([Setting("CartPole-v1", 32, 2)], rounds=1, seconds=0.01, out=tmp_path)
    rows = pd.read_csv(tmp_path / "speed.csv").set_index("contender")
    assert rows.speed["A2C"] == 1.0
    assert rows.share["bound"] == 1.0
    # ten epochs of PPO cost many times what its environments do, on the noisiest machine
    assert rows.share["PPO"] < 1 and (rows.us > 0).all()
    assert {"TDAC fast, equal work", "TDAC general, defaults", "PPO"} <= {*rows.index}
    text = (tmp_path / "speed.md").read_text()
    assert text.strip() in capsys.readouterr().out
    assert re.search(r"\| CartPole-v1 32x2 +\| 1.00 \(1.00 to 1.00\) +\|", text)
    assert "torch 2" in text
    assert matplotlib.image.imread(tmp_path / "speed.png").std() > 0


@pytest.mark.serial
def test_sweep_varies_its_number_and_writes_a_row_for_each_value(tmp_path: Path) -> None:
    base = Setting("CartPole-v1", 2, 2)
    sweep(base, "n_envs", [1, 32], rounds=3, seconds=0.02, out=tmp_path)
    rows = pd.read_csv(tmp_path / "speed_n_envs.csv").set_index(["contender", "n_envs"])
    assert len(rows) == 8  # four contenders, two values
    # 32 environments cost about 32 times as much as one, learning far less than that
    assert rows.us["bound", 32] > 8 * rows.us["bound", 1]
    assert rows.us["A2C", 32] < 8 * rows.us["A2C", 1]
    assert matplotlib.image.imread(tmp_path / "speed_n_envs.png").std() > 0


def test_contender_without_its_module_is_left_out_with_a_line(
    capsys: pytest.CaptureFixture[str],
) -> None:
    def lacking(setting: Setting) -> Contender:
        raise ModuleNotFoundError("No module named 'sbx'")

    setting = Setting("CartPole-v1", 1, 5)
    fake = Contender(lambda steps: None)
    assert build(setting, {"SBX PPO": lacking, "A2C": lambda _: fake}) == {"A2C": fake}
    assert capsys.readouterr().out == ("CartPole-v1 1x5: skipped SBX PPO: No module named 'sbx'\n")


def collect_rollouts(seconds: float) -> None:
    """Uses some CPU time; the profile has a rule for this name."""
    end = time.process_time() + seconds
    while time.process_time() < end:
        pass


def train(seconds: float) -> None:
    """The same under the other name."""
    end = time.process_time() + seconds
    while time.process_time() < end:
        pass


@pytest.mark.serial
def test_samples_are_shared_out_as_the_cpu_time_is() -> None:
    def run(steps: int) -> None:
        collect_rollouts(0.45 * steps)
        train(0.15 * steps)

    nanoseconds = sample(Contender(run), 1)
    # one sample in 4 ms or less: 150 or more, three quarters of them within 4 standard deviations
    action = nanoseconds["action: forward, sampling, loop"] / nanoseconds.total()
    assert action == pytest.approx(0.75, abs=4 * (0.75 * 0.25 / 150) ** 0.5)
    assert set(nanoseconds) <= {part for _, _, part in RULES} | {"rest of learn()"}
    assert nanoseconds.total() == pytest.approx(6e8, rel=0.1)


class Probe(gym.Env[np.ndarray, int]):
    """Notes the part of the profile to which its step belongs."""

    observation_space, action_space = spaces.Box(-1, 1, (1,)), spaces.Discrete(2)

    def __init__(self, seen: set[str]):
        self.seen = seen

    def reset(self, **_: Any) -> tuple[np.ndarray, dict[str, Any]]:
        return np.zeros(1, np.float32), {}

    def step(self, _: int) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        self.seen.add(part_of(sys._getframe()))
        return np.zeros(1, np.float32), 0.0, False, False, {}


@pytest.mark.parametrize("algorithm", [A2C, TDAC])
def test_a_stack_belongs_to_its_innermost_part(algorithm: type[BaseAlgorithm]) -> None:
    in_environment: set[str] = set()
    in_callback: set[str] = set()
    model = algorithm("MlpPolicy", make_vec_env(lambda: Probe(in_environment)), device="cpu")
    model.learn(1, lambda *_: in_callback.add(part_of(sys._getframe())) is None)
    assert in_environment == {"environment, Monitor"}
    assert in_callback == {"callbacks"}
    assert part_of(sys._getframe()) == "rest of learn()"  # no algorithm in this stack


def test_every_function_of_a_rule_exists() -> None:
    packages = [Path(inspect.getfile(module)).parent for module in (sb3_tdac, stable_baselines3)]
    sources = "".join(path.read_text() for package in packages for path in package.rglob("*.py"))
    functions = {name for _, name, _ in RULES} - {"", "backward"}  # torch's
    assert {name for name in functions if f"def {name}(" not in sources} == set()


def test_profile_has_a_column_for_each_model_and_their_sums() -> None:
    parts = measure_profile(Setting("CartPole-v1", 2, 5), rounds=1, seconds=0.2)
    assert [*parts.columns] == ["A2C", "TDAC fast, equal work", "TDAC general, equal work"]
    sums = parts.drop("sum").sum()
    assert parts.loc["sum"].to_numpy() == pytest.approx(sums.to_numpy(), abs=0.05 * len(parts))
    assert (parts.loc["action: forward, sampling, loop"] > 0).all()


def test_trained_model_takes_memory_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    # two networks of two layers with 64 units, their gradients and moments: at least 4 * 36 kB;
    # less than the 90 MB that the first optimizer of a process imports
    name = "TDAC general, equal work"
    monkeypatch.setattr(speed_measure, "IN_MEMORY", {name: EQUAL_WORK[name]})
    table = measure_memory(Setting("Pendulum-v1", 2, 5), steps=10, processes=1)
    assert 0.1 < table.loc[name, "median"] < 60


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        (["--rounds", "0"], "--rounds must be positive, got 0"),
        (["--sweep", "width", "--n-envs", "-1"], "--n-envs must be positive, got -1"),
        (["--only", "Humanoid"], "--only must be part of one of Pendulum-v1 1x5, "),
    ],
)
def test_bad_arguments_are_refused_by_name(
    arguments: list[str],
    error: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(sys, "argv", ["speed.py", *arguments])
    with pytest.raises(SystemExit):
        parse()
    assert error in capsys.readouterr().err
