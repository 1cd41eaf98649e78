"""The benchmark's contenders take turns, its ratios are those of one round, and it writes files."""

import subprocess
import sys
import time
from pathlib import Path

import benchmark_contenders
import matplotlib.image
import pandas as pd
import pytest
from benchmark_contenders import Contender, Setting, build
from benchmark_measure import measure, summarize
from benchmark_profile import measure_profile
from benchmark_speed import compare, sweep

EXAMPLES = Path(__file__).parent.parent / "examples"


class FakeMachine:
    """A clock that only its contenders move on, and that is as slow as it is told to be."""

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
    # before them each has run, and gone on until its turn of 10 steps was known: 1 + 2 + 4 + 8
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
    # the machine is 1, 3 and 10 times as slow in the three rounds; the quartiles show the ratios'
    # spread over the rounds, 4, 4 and 5, and not that of the times
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
    monkeypatch.setattr(benchmark_contenders, "PPO_ROLLOUT", 256)
    compare([Setting("CartPole-v1", 32, 2)], rounds=1, seconds=0.01, out=tmp_path)
    rows = pd.read_csv(tmp_path / "speed.csv").set_index("contender")
    assert rows.speed["A2C"] == 1.0
    assert rows.share["bound"] == 1.0
    # learning costs something, and so does the VecEnv around the environment
    assert (rows.share.drop(["bound", "bare environment"]) < 1).all()
    assert rows.share["bare environment"] > 1
    assert {"TDAC fast, equal work", "TDAC general, defaults", "PPO"} <= {*rows.index}
    text = (tmp_path / "speed.md").read_text()
    assert text.strip() in capsys.readouterr().out
    assert "| CartPole-v1 32x2 | 1.00 (1.00 to 1.00) |" in text and "torch 2" in text
    assert matplotlib.image.imread(tmp_path / "speed.png").std() > 0


def test_sweep_varies_its_number_and_writes_a_row_for_each_value(tmp_path: Path) -> None:
    base = Setting("CartPole-v1", 2, 2)
    sweep(base, "n_envs", [1, 32], rounds=1, seconds=0.02, out=tmp_path)
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


def test_parts_of_the_profile_add_up_and_name_what_runs() -> None:
    table = measure_profile(Setting("CartPole-v1", 2, 5), rounds=2, seconds=0.1)
    parts = table.set_index(table.columns[0])
    assert parts.loc["sum"].to_numpy() == pytest.approx(
        parts.drop("sum").sum().to_numpy(), abs=0.05 * len(parts)
    )
    assert (parts.loc["action: forward, sampling, loop"] > 0).all()
    assert parts.loc["checks", "A2C"] == 0.0  # SB3 has none
    assert parts.loc["rest of learn()"].max() < 0.2 * parts.loc["sum"].min()


def test_trained_model_takes_memory_of_its_own() -> None:
    # two networks of two layers with 64 units, their gradients and moments: at least 4 * 36 kB
    name, setting = "TDAC general, equal work", ("Pendulum-v1", "2", "5")
    command = [sys.executable, str(EXAMPLES / "benchmark_memory.py"), name, *setting, "10"]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    assert 1e5 < int(done.stdout) < 1e8
