"""Algorithms are compared on equal evaluations, and every number comes from them."""

import contextlib
import json
import os
import re
import signal
import subprocess
import sys
import time
from itertools import product
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from rliable import metrics
from stable_baselines3 import A2C
from stable_baselines3.common.env_util import make_vec_env
from stable_baselines3.common.evaluation import evaluate_policy
from stable_baselines3.common.vec_env import VecNormalize

from sb3_tdac.zoo.cli import main
from sb3_tdac.zoo.comparison import COLUMNS, Comparison, random_return
from sb3_tdac.zoo.evaluation import EVAL_SEED
from sb3_tdac.zoo.runs import default_entry, tuned_entry
from sb3_tdac.zoo.statistics import (
    METRICS,
    Estimate,
    estimate,
    improvement,
    iqm,
    mean,
    normalisation,
    reached,
)

BUDGET = "-n 200 --eval-freq 100 --eval-episodes 2 --seeds 2 --workers 1".split()
ENVS = ["CartPole-v1", "Pendulum-v1"]
COMPARE = ["compare", "--env", *ENVS, "--algos", "tdac", "a2c", *BUDGET]
OUT = Path("logs") / "compare" / "200_steps"
FILES = ["comparison.md", "comparison.json", "evaluations.csv.gz", "aggregates.png"]
FILES += ["sample_efficiency.png", "probability_of_improvement.png"]
FILES += ["curve_CartPole-v1.png", "curve_Pendulum-v1.png"]


@pytest.fixture(scope="module")
def compared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("compared")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        assert main(COMPARE) == 0
    return folder


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def error_line(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    """What a failing command says last; it must be one line that names the command."""
    assert main(arguments) in (1, 2)
    line = capsys.readouterr().err.splitlines()[-1]
    assert line.startswith("sb3-tdac compare: error: ")
    return line


def table(text: str, title: str) -> dict[str, dict[str, str]]:
    """Cells of the table under a title, by first cell and head; double heads get a number."""
    lines = text.split(f"## {title}\n")[1].split("\n## ")[0].splitlines()
    head, _, *rows = [[c.strip() for c in x.split("|")[1:-1]] for x in lines if x.startswith("|")]
    names = [f"{name}{head[:i].count(name) or ''}" for i, name in enumerate(head)]
    return {row[0]: dict(zip(names, row, strict=True)) for row in rows}


def write(folder: Path, returns: dict[tuple[str, str], list[list[float]]]) -> None:
    """A comparison by hand: (environment, algorithm) to [seed][step], one episode each."""
    rows = []
    for (env, algo), seeds in returns.items():
        for seed, curve in enumerate(seeds):
            for i, value in enumerate(curve):
                # 10 steps and 2 seconds between evaluations
                time = {"step": 10 * (i + 1), "timesteps": 10 * (i + 1), "seconds": 2.0 * (i + 1)}
                known = {"env": env, "algo": algo, "seed": seed, **time, "episode": 0}
                rows.append({**known, "mode": "deterministic", "return": value})
            rows.append({**known, "mode": "stochastic", "return": curve[-1] - 1})
    pd.DataFrame(rows)[COLUMNS].to_csv(folder / "evaluations.csv.gz", index=False)
    envs, algos = (list(dict.fromkeys(names)) for names in zip(*returns, strict=True))
    thresholds: dict[str, float | None] = {env: 6.0 for env in envs}
    record = Comparison("by hand", algos, thresholds, {env: 0.0 for env in envs})
    record.evaluations = pd.read_csv(folder / "evaluations.csv.gz")
    record.write(folder)


# --- runs -------------------------------------------------------------------------------------


def test_every_run_is_evaluated_at_the_same_steps_and_once_stochastically(compared: Path) -> None:
    found = pd.read_csv(compared / OUT / "evaluations.csv.gz")
    keys = found.groupby(["env", "algo", "seed"])[["mode", "step", "episode"]]
    expected = [
        *product(["deterministic"], [100, 200], [0, 1]),
        *product(["stochastic"], [200], [0, 1]),
    ]
    assert keys.ngroups == 8
    for _, rows in keys:
        assert list(rows.itertuples(index=False, name=None)) == expected
    for name in FILES:
        assert (compared / OUT / name).stat().st_size > 0


def test_returns_are_those_of_the_saved_agent_and_its_normalisation(compared: Path) -> None:
    # rl_zoo3 trains A2C on Pendulum-v1 with VecNormalize
    folder = compared / OUT / "a2c" / "Pendulum-v1_2"
    env = make_vec_env("Pendulum-v1", 2)
    env = VecNormalize.load(str(folder / "Pendulum-v1" / "vecnormalize.pkl"), env)
    env.training = env.norm_reward = False
    model = A2C.load(folder / "Pendulum-v1.zip", env=env)
    env.seed(EVAL_SEED)  # after the model seeded it with its own
    returns, _ = evaluate_policy(model, env, 2, return_episode_rewards=True)
    found = pd.read_csv(compared / OUT / "evaluations.csv.gz")
    rows = found.query(
        "env == 'Pendulum-v1' and algo == 'a2c' and seed == 1 and step == 200 "
        "and mode == 'deterministic'"
    )
    assert rows["return"].to_list() == pytest.approx(returns, rel=1e-5)


def test_the_same_command_trains_only_what_is_missing(
    compared: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(compared)
    files = sorted(OUT.glob("*/*/evaluations.jsonl"))
    assert len(files) == 8
    unfinished = files.pop(2)
    unfinished.write_text(unfinished.read_text()[:-1])  # its last line was being written
    before = [file.stat().st_mtime_ns for file in files]
    report = (OUT / "evaluations.csv.gz", pd.read_csv(OUT / "evaluations.csv.gz"))
    assert main(COMPARE) == 0
    assert "7 of 8 runs" in capsys.readouterr().out
    assert [file.stat().st_mtime_ns for file in files] == before
    # The same seed gives the same run, in other seconds.
    repeated = pd.read_csv(report[0]).drop(columns="seconds")
    pd.testing.assert_frame_equal(repeated, report[1].drop(columns="seconds"))


def test_a_run_with_other_settings_is_not_taken_for_one_of_these(
    compared: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(compared)
    before = sorted((path, path.stat().st_mtime_ns) for path in OUT.rglob("*"))
    for change in ("-n 300", "--eval-freq 50", "--n-envs 3", "--eval-episodes 4", "--defaults"):
        line = error_line(capsys, *COMPARE, *change.split(), "--out", str(OUT))
        assert "choose another --out" in line
        assert str(OUT / "tdac" / "CartPole-v1_1") in line or "a2c" in line
    assert sorted((path, path.stat().st_mtime_ns) for path in OUT.rglob("*")) == before


def test_a_folder_of_others_is_left_alone(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (here / "logs" / "tdac" / "CartPole-v1_1").mkdir(parents=True)
    line = error_line(capsys, *COMPARE, "--out", "logs")
    assert "is no run of a comparison" in line
    assert (here / "logs" / "tdac" / "CartPole-v1_1").is_dir()


def test_an_ended_run_without_evaluations_is_a_failure_and_others_go_on(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    # DQN has no continuous actions, and only its process finds out.
    options = [
        "--env",
        "Pendulum-v1",
        "--algos",
        "dqn",
        "tdac",
        "--defaults",
        *BUDGET,
        "--out",
        "x",
    ]
    line = error_line(capsys, "compare", *options)
    assert line.count("AssertionError: The algorithm only supports") == 2
    log = Path("x") / "dqn" / "Pendulum-v1_1" / "log.txt"
    assert "dqn on Pendulum-v1, seed 0: AssertionError" in line and f"(see {log})" in line
    assert "no statistics: no seed of dqn" in line
    assert log.is_file() and not Path("x/comparison.md").exists()
    assert (
        len((here / "x" / "tdac" / "Pendulum-v1_2" / "evaluations.jsonl").read_text().splitlines())
        == 3
    )


@pytest.mark.parametrize(("ended_by", "status"), [(signal.SIGINT, 130), (signal.SIGKILL, -9)])
def test_no_child_outlives_its_parent(here: Path, ended_by: signal.Signals, status: int) -> None:
    command = [
        sys.executable,
        "-m",
        "sb3_tdac.zoo",
        "compare",
        "--env",
        "CartPole-v1",
        "--out",
        "x",
    ]
    command += "-n 2000000 --algos tdac --seeds 1 --workers 1 --eval-freq 500".split()
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, start_new_session=True)
    evaluations = here / "x" / "tdac" / "CartPole-v1_1" / "evaluations.jsonl"
    try:
        deadline = time.monotonic() + 60
        while not evaluations.is_file() and time.monotonic() < deadline:
            time.sleep(0.1)
        if ended_by == signal.SIGINT:  # which reaches all processes of a terminal
            os.killpg(process.pid, ended_by)
        else:
            process.kill()
        _, errors = process.communicate(timeout=60)
        assert process.returncode == status
        assert errors == ("sb3-tdac compare: error: interrupted\n" if status > 0 else "")
        size = evaluations.stat().st_size
        time.sleep(1)
        assert evaluations.stat().st_size == size > 0
    finally:
        with contextlib.suppress(ProcessLookupError):  # where the test passes none is left
            os.killpg(process.pid, signal.SIGKILL)


def test_entries_are_the_zoos_or_nothing_but_the_policy() -> None:
    tuned = tuned_entry("Pendulum-v1", "a2c", None, 123)
    assert (tuned["gae_lambda"], tuned["normalize"], tuned["n_timesteps"]) == (0.9, True, 123)
    assert tuned_entry("Pendulum-v1", "a2c", 3, 123) == tuned | {"n_envs": 3}
    default = {"policy": "MlpPolicy", "n_envs": 8, "n_timesteps": 123}
    assert default_entry("Pendulum-v1", "trpo", None, 123) == default
    assert default_entry("Pendulum-v1", "sac", None, 123) == default | {"n_envs": 1}
    assert default_entry("Pendulum-v1", "ppo_lstm", 3, 123) == default | {
        "policy": "MlpLstmPolicy",
        "n_envs": 3,
    }


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ("--env CartPol-v1", "unknown environment 'CartPol-v1': did you mean 'CartPole-v1'?"),
        ("--env CartPole-v1 --algos tdac reinforce", "unknown algorithm 'reinforce': choose from"),
        ("--env CartPole-v1 --algos a2c a2c", "algorithm 'a2c' is named twice"),
        ("--env Blackjack-v1", "tdac.yml has no entry for Blackjack-v1: see --defaults"),
        ("--env Pendulum-v1 --algos trpo dqn", "dqn.yml has no entry for Pendulum-v1"),
        ("--env CartPole-v1 --seeds 0", "--seeds must be at least 1, got 0"),
        ("--env CartPole-v1 --workers 0", "--workers must be at least 1, got 0"),
        ("--env CartPole-v1 --threshold x", "--threshold x: 'x' is no number"),
        ("--env CartPole-v1 Pendulum-v1 --threshold 5", "--threshold 5: say ENV=NUMBER"),
        ("--from nowhere", "nowhere has no comparison"),
        ("", "--env is needed, or --from"),
    ],
)
def test_mistakes_are_said_in_one_line_before_any_training(
    options: str, said: str, here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert said in error_line(capsys, "compare", "-n", "100", *options.split())
    assert list(here.iterdir()) == []


# --- statistics -------------------------------------------------------------------------------


def test_metrics_are_those_of_rliable() -> None:
    x, y = np.random.default_rng(0).normal(0.8, 0.5, (2, 7, 3)).round(1)
    theirs = {
        "IQM": metrics.aggregate_iqm,
        "median": metrics.aggregate_median,
        "mean": metrics.aggregate_mean,
        "optimality gap": metrics.aggregate_optimality_gap,
    }
    for name, metric in METRICS.items():
        assert metric(*x.T) == pytest.approx(theirs[name](x))
    expected = metrics.probability_of_improvement(x, y)
    assert improvement(*x.T, *y.T) == pytest.approx(expected)


def test_iqm_is_the_mean_of_the_middle_half() -> None:
    # All eight scores together: 0 1 | 2 3 4 5 | 6 100
    assert iqm(np.array([0.0, 2.0, 4.0, 100.0]), np.array([1.0, 3.0, 5.0, 6.0])) == 3.5


def test_probability_of_improvement_is_the_share_of_pairs() -> None:
    x, y = np.array([[1.0], [2.0], [3.0]]), np.array([[2.0], [0.0]])
    pairs = [1.0 * (a > b) + 0.5 * (a == b) for a, b in product(x[:, 0], y[:, 0])]
    assert sum(pairs) / 6 == 4.5 / 6
    assert estimate(improvement, x, y).value == 0.75


def test_intervals_are_percentiles_of_the_resampled_metric() -> None:
    # Two runs are drawn twice: means 0, 1 and 2 with probabilities 1/4, 1/2 and 1/4.
    assert estimate(mean, np.array([[0.0], [2.0]])) == Estimate(1.0, 0.0, 2.0)
    # Five runs: P(mean = 0) = 1/3125 and P(mean <= 1/5) = 21/3125 are below 2.5 %,
    # P(mean <= 2/5) = (1 + 4^1 * 5 + 4^2 * 10) / 3125 = 5.8 % is not.
    scores = np.array([[0.0], [1.0], [1.0], [1.0], [1.0]])
    assert estimate(mean, scores) == Estimate(0.8, 0.4, 1.0)


def test_runs_are_resampled_within_their_environment() -> None:
    assert estimate(mean, np.array([[0.0, 1.0]] * 4)) == Estimate(0.5, 0.5, 0.5)


def test_one_run_has_no_interval() -> None:
    found = estimate(mean, np.array([[0.25, 0.75]]))
    assert found.value == 0.5 and np.isnan(found.low) and np.isnan(found.high)


def test_threshold_is_reached_at_the_first_evaluation_at_or_above_it() -> None:
    evaluations = {
        0: [(10, 1.0, 5.0), (20, 2.0, 6.0), (30, 3.0, 7.0)],
        1: [(10, 1.5, 7.0), (20, 2.5, 1.0)],
        2: [(10, 1.0, 0.0), (20, 2.0, 5.9)],
    }
    rows = [(seed, *row) for seed, curve in evaluations.items() for row in curve]
    curves = pd.DataFrame(rows, columns=["seed", "step", "seconds", "return"])
    # Steps 20, 10 and never; seconds 2.0, 1.5 and never
    assert reached(curves, 6.0) == (2, 20.0, 2.0)
    assert reached(curves, 7.0) == (2, 30.0, 3.0)
    assert reached(curves, 8.0) == (0, np.inf, np.inf)


def test_range_is_known_or_from_the_random_policy_to_the_best() -> None:
    returns = pd.DataFrame(
        [("A", "deterministic", 3.0), ("A", "deterministic", 5.0), ("A", "stochastic", 9.0)],
        columns=["env", "mode", "return"],
    )
    assert normalisation("A", returns, 1.0, (0.0, 8.0))[:2] == (0.0, 8.0)
    assert normalisation("A", returns, 1.0, None)[:2] == (1.0, 5.0)
    assert normalisation("A", returns, 6.0, None)[:2] == (3.0, 5.0)
    assert normalisation("A", returns[1:], 6.0, None)[:2] == (4.0, 5.0)


def test_random_policy_gets_its_mean_return() -> None:
    # One reward of 1 for each step, and it falls after about 22 (published: 9 to 60).
    assert 15 < random_return("CartPole-v1") < 30
    assert random_return("CartPole-v1") == random_return("CartPole-v1")


def test_every_number_of_the_tables_comes_from_the_evaluations(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    # Ranges: random policy 0, best evaluations 10 and 20
    x = [[2.0, 6.0], [8.0, 10.0]], [[0.0, 20.0], [0.0, 10.0]]
    y = [[1.0, 2.0], [1.0, 7.0]], [[1.0, 4.0], [1.0, 4.0]]
    write(
        here,
        {("A", "tdac"): x[0], ("B", "tdac"): x[1], ("A", "ppo"): y[0], ("B", "ppo"): y[1]},
    )
    assert main(["compare", "--from", ".", "--threshold", "B=20"]) == 0
    text = Path("comparison.md").read_text()
    tdac, ppo = table(text, "A")["tdac"], table(text, "A")["ppo"]
    assert tdac["deterministic: mean ± std"] == "8.00 ± 2.00"
    assert tdac["IQM"] == "8.00 (6.00 … 10.00)"
    assert tdac["stochastic: mean ± std"] == "7.00 ± 2.00"
    assert tdac["IQM1"] == "7.00 (5.00 … 9.00)"
    # The threshold 6 is reached after 20 and 10 steps, 4 and 2 seconds; PPO's first seed never
    # reaches it.
    assert (tdac["reached 6"], tdac["steps to it"], tdac["seconds to it"]) == (
        "2 of 2",
        "15",
        "3.0",
    )
    assert (ppo["reached 6"], ppo["steps to it"], ppo["seconds to it"]) == ("1 of 2", "-", "-")
    assert (tdac["seconds"], tdac["steps trained"], tdac["seeds"]) == ("4.0", "20", "2")
    assert table(text, "B")["tdac"]["reached 20"] == "1 of 2"
    # Scores of TDAC: 0.6, 1 | 1, 0.5; of PPO: 0.2, 0.7 | 0.2, 0.2
    everywhere = text.split("## All environments")[1].split("##")[0]
    rows = re.findall(
        r"\| (\w+) \| deterministic \| 2 \| (\S+) .*?\| (\S+) .*?\| (\S+) ", everywhere
    )
    assert rows == [("tdac", "0.800", "0.775", "0.775"), ("ppo", "0.200", "0.325", "0.325")]
    assert re.findall(r"\| (\S+) \([^)]*\) \|$", everywhere, re.M)[0] == "0.225"
    # Pairs: 6 > 2, 6 < 7, 10 > both: 3/4; 20 and 10 > 4: 1
    chance = table(text, "Probability of improvement")["tdac over ppo"]["deterministic"]
    assert chance.startswith("0.875 (")
    assert table(text, "Normalisation")["B"]["score 1"] == "20.00"


def test_one_environment_one_seed_and_one_algorithm_are_enough(here: Path) -> None:
    write(here, {("A", "a2c"): [[1.0, 2.0]]})
    assert main(["compare", "--from", "."]) == 0
    text = Path("comparison.md").read_text()
    assert table(text, "A")["a2c"]["IQM"] == "2.00"
    assert table(text, "All environments")["a2c"]["mean"] == "0.500"  # the stochastic one
    assert "improvement" not in text


def test_redrawing_gives_the_same_table(compared: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(compared)
    before = (OUT / "comparison.md").read_text()
    (OUT / "comparison.md").unlink()
    assert main(["compare", "--from", str(OUT)]) == 0
    assert (OUT / "comparison.md").read_text() == before
    assert json.loads((OUT / "comparison.json").read_text())["algos"] == ["tdac", "a2c"]


def test_a_seed_that_is_missing_on_one_environment_counts_on_the_others_only(here: Path) -> None:
    # Ranges 0 to 10 on both; the third seed of A finished nowhere else
    write(here, {("A", "tdac"): [[0.0], [0.0], [10.0]], ("B", "tdac"): [[10.0], [6.0]]})
    assert main(["compare", "--from", "."]) == 0
    text = Path("comparison.md").read_text()
    assert table(text, "A")["tdac"]["deterministic: mean ± std"] == "3.33 ± 4.71"
    assert (table(text, "A")["tdac"]["seeds"], table(text, "B")["tdac"]["seeds"]) == ("3", "2")
    # (0 + 0 + 1 + 0.6) / 4
    assert "| tdac | deterministic | 2 | 0.300 " in text
    assert " | 0.400 (0.300 … 0.500) | " in text
