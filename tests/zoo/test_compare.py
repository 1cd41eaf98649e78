"""Algorithms are compared on equal evaluations, and every number comes from them."""

import contextlib
import inspect
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from itertools import product
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from helpers.zoo import error_line
from rliable import metrics
from stable_baselines3 import A2C
from stable_baselines3.common.env_util import make_vec_env
from stable_baselines3.common.evaluation import evaluate_policy
from stable_baselines3.common.vec_env import VecNormalize

from sb3_tdac import TDAC
from sb3_tdac.zoo import register
from sb3_tdac.zoo.cli import main
from sb3_tdac.zoo.comparison import COLUMNS, SECONDS, Comparison
from sb3_tdac.zoo.contenders import Contender
from sb3_tdac.zoo.evaluation import EVAL_SEED, Evaluation
from sb3_tdac.zoo.folders import read
from sb3_tdac.zoo.runs import Run
from sb3_tdac.zoo.scores import RANGES, normalisation, random_return
from sb3_tdac.zoo.statistics import METRICS, Estimate, estimate, improvement, iqm, mean, reached

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


def table(text: str, title: str) -> dict[str, dict[str, str]]:
    """Cells of the table under a title, by first cell and head; double heads get a number."""
    lines = text.split(f"## {title}\n")[1].split("\n## ")[0].splitlines()
    head, _, *rows = [[c.strip() for c in x.split("|")[1:-1]] for x in lines if x.startswith("|")]
    names = [f"{name}{head[:i].count(name) or ''}" for i, name in enumerate(head)]
    return {row[0]: dict(zip(names, row, strict=True)) for row in rows}


def write(
    folder: Path, returns: dict[tuple[str, str], list[list[float]]], seconds: dict[str, float]
) -> None:
    """A comparison by hand: (environment, algorithm) to [seed][step], one episode each.

    Evaluations are 10 steps, and of each algorithm so many seconds, apart.
    """
    rows = []
    for (env, algo), seeds in returns.items():
        for seed, curve in enumerate(seeds):
            for i, value in enumerate(curve):
                known = {"env": env, "algo": algo, "seed": seed, "episode": 0}
                times = {"step": 10 * i, "timesteps": 10 * i, "seconds": 99.0}
                known |= times | {"cpu_seconds": seconds[algo] * i}
                for mode, less in (("deterministic", 0), ("stochastic", 1)):
                    rows.append({**known, "mode": mode, "return": value - less})
    envs, algos = (list(dict.fromkeys(names)) for names in zip(*returns, strict=True))
    zero = dict.fromkeys(envs, 0.0)
    record = Comparison(algos, envs, ["by hand"], dict.fromkeys(envs, 6.0), zero)
    record.evaluations = pd.DataFrame(rows)[COLUMNS]
    record.write(folder)


# --- runs -------------------------------------------------------------------------------------


def test_every_run_is_evaluated_at_the_same_steps_in_both_modes(compared: Path) -> None:
    found = pd.read_csv(compared / OUT / "evaluations.csv.gz")
    keys = found.groupby(["env", "algo", "seed"])[["mode", "step", "episode"]]
    expected = sorted(product(["deterministic", "stochastic"], [0, 100, 200], [0, 1]))
    assert keys.ngroups == 8
    for _, rows in keys:
        assert sorted(rows.itertuples(index=False, name=None)) == expected
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
    times = ["seconds", "cpu_seconds"]
    repeated = pd.read_csv(report[0]).drop(columns=times)
    pd.testing.assert_frame_equal(repeated, report[1].drop(columns=times))


def test_a_run_with_other_settings_is_not_taken_for_one_of_these(
    compared: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(compared)
    before = sorted((path, path.stat().st_mtime_ns) for path in OUT.rglob("*"))
    for change in ("-n 300", "--eval-freq 50", "--n-envs 3", "--eval-episodes 4"):
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
        "tdac",
        "dqn-defaults",
        *BUDGET,
        "--out",
        "x",
    ]
    line = error_line(capsys, "compare", *options)
    assert line.count("AssertionError: The algorithm only supports") == 2
    log = Path("x") / "dqn-defaults" / "Pendulum-v1_1" / "log.txt"
    assert "dqn-defaults on Pendulum-v1, seed 0: AssertionError" in line and f"(see {log})" in line
    assert log.is_file()
    text = Path("x/comparison.md").read_text()
    rows = table(text, "Pendulum-v1")
    assert (rows["tdac"]["seeds"], rows["dqn-defaults"]["seeds"]) == ("2", "0 of 2")
    assert "Pendulum-v1 is not in the aggregates: no run of dqn-defaults finished" in text


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


def entry(name: str, env: str, n_envs: int | None = None) -> tuple[str, dict[str, object]]:
    register()
    return Contender.parse(name).entry(env, n_envs, 123)


def test_entries_are_the_zoos_or_nothing_but_the_policy() -> None:
    origin, tuned = entry("a2c", "Pendulum-v1")
    assert origin == "a2c.yml, Pendulum-v1"
    assert (tuned["gae_lambda"], tuned["normalize"], tuned["n_timesteps"]) == (0.9, True, 123)
    assert entry("a2c", "Pendulum-v1", 3)[1] == tuned | {"n_envs": 3}
    default = {"policy": "MlpPolicy", "n_envs": 8, "n_timesteps": 123}
    assert entry("trpo-defaults", "Pendulum-v1") == ("constructor", default)
    assert entry("sac-defaults", "Pendulum-v1")[1] == default | {"n_envs": 1}
    lstm = default | {"policy": "MlpLstmPolicy", "n_envs": 3}
    assert entry("ppo_lstm-defaults", "Pendulum-v1", 3)[1] == lstm


def test_a_variant_differs_from_its_algorithm_in_what_its_name_says() -> None:
    _, tuned = entry("a2c", "Pendulum-v1")
    assert entry("a2c-gae_lambda=0", "Pendulum-v1")[1] == tuned | {"gae_lambda": 0}
    _, default = entry("a2c-defaults", "Pendulum-v1")
    changed = entry("a2c-defaults-learning_rate=lin_1e-3-gamma=1e-1", "Pendulum-v1")[1]
    assert changed == default | {"learning_rate": "lin_1e-3", "gamma": 0.1}


def test_an_environment_without_an_entry_has_its_older_versions_or_the_default() -> None:
    assert entry("a2c", "Hopper-v5")[0] == "a2c.yml, Hopper-v4"
    assert entry("ppo", "Reacher-v5")[0] == "ppo.yml, Reacher-v2"
    default = {"policy": "MlpPolicy", "n_timesteps": 123}
    assert entry("a2c", "InvertedPendulum-v5") == ("a2c.yml, default", default)


def test_other_defaults_of_the_constructor_make_another_run() -> None:
    register()
    known = Contender.parse("tdac").constructor_defaults({"policy": "MlpPolicy", "gamma": 0.5})
    assert known["critic_steps"] == repr(inspect.signature(TDAC).parameters["critic_steps"].default)
    assert "gamma" not in known and "std_init" in known and "seed" not in known


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ("--env CartPol-v1", "unknown environment 'CartPol-v1': did you mean 'CartPole-v1'?"),
        ("--env CartPole-v1 --algos tdac reinforce", "unknown algorithm 'reinforce': choose from"),
        ("--env CartPole-v1 --algos a2c a2c", "algorithm 'a2c' is named twice"),
        ("--env Blackjack-v1 --algos a2c-gea_lambda=0", "did you mean gae_lambda?"),
        ("--from x y", "--out is needed where --from names several folders"),
        ("--env CartPole-v1 --seeds 0", "--seeds must be at least 1, got 0"),
        ("--env CartPole-v1 --first-seed -1", "--first-seed must be at least 0, got -1"),
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
    x, y = np.random.default_rng(0).normal(0.8, 0.5, (2, 8, 3)).round(1)
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


def test_environments_count_alike_however_many_runs_they_have() -> None:
    # Two runs of B weigh as much as four of A, and each of them as two: 0 0 | 0 0 5 5 | 9 9
    a, b = np.zeros(4), np.array([5.0, 9.0])
    assert iqm(a, b) == 2.5
    assert mean(a, b) == 3.5


def test_probability_of_improvement_is_the_share_of_pairs() -> None:
    x, y = np.array([1.0, 2.0, 3.0]), np.array([2.0, 0.0])
    pairs = [1.0 * (a > b) + 0.5 * (a == b) for a, b in product(x, y)]
    assert sum(pairs) / 6 == 4.5 / 6
    assert estimate(improvement, x, y).value == 0.75


def test_intervals_are_percentiles_of_the_resampled_metric() -> None:
    # Two runs are drawn twice: means 0, 1 and 2 with probabilities 1/4, 1/2 and 1/4.
    assert estimate(mean, np.array([0.0, 2.0])) == Estimate(1.0, 0.0, 2.0)
    # Five runs: P(mean = 0) = 1/3125 and P(mean <= 1/5) = 21/3125 are below 2.5 %,
    # P(mean <= 2/5) = (1 + 4^1 * 5 + 4^2 * 10) / 3125 = 5.8 % is not.
    scores = np.array([0.0, 1.0, 1.0, 1.0, 1.0])
    assert estimate(mean, scores) == Estimate(0.8, 0.4, 1.0)


def test_runs_are_resampled_within_their_environment() -> None:
    assert estimate(mean, np.zeros(4), np.ones(4)) == Estimate(0.5, 0.5, 0.5)


def test_one_run_has_no_interval() -> None:
    found = estimate(mean, np.array([0.25]), np.array([0.75]))
    assert found.value == 0.5 and np.isnan(found.low) and np.isnan(found.high)


def test_threshold_is_reached_at_the_first_evaluation_at_or_above_it() -> None:
    evaluations = {
        0: [(10, 1.0, 5.0), (20, 2.0, 6.0), (30, 3.0, 7.0)],
        1: [(10, 1.5, 7.0), (20, 2.5, 1.0)],
        2: [(10, 1.0, 0.0), (20, 2.0, 5.9)],
    }
    rows = [(seed, *row) for seed, curve in evaluations.items() for row in curve]
    curves = pd.DataFrame(rows, columns=["seed", "step", "cpu_seconds", "return"])
    # Steps 20, 10 and never; seconds 2.0, 1.5 and never
    assert reached(curves, 6.0) == (2, 20.0, 2.0)
    assert reached(curves, 7.0) == (2, 30.0, 3.0)
    assert reached(curves, 8.0) == (0, np.inf, np.inf)


def test_range_is_that_of_the_table_or_from_the_random_policy_to_the_best() -> None:
    returns = pd.DataFrame(
        [("A", "deterministic", 3.0), ("A", "deterministic", 5.0), ("A", "stochastic", 9.0)],
        columns=["env", "mode", "return"],
    )
    assert normalisation("Hopper-v5", returns, 1.0) == RANGES["Hopper-v5"]
    assert normalisation("A", returns, 1.0)[:2] == (1.0, 5.0)
    assert normalisation("A", returns, 6.0)[:2] == (3.0, 5.0)
    assert normalisation("A", returns[1:], 6.0)[:2] == (4.0, 5.0)


def test_random_policy_gets_its_mean_return() -> None:
    for env in ("CartPole-v1", "Pendulum-v1", "InvertedDoublePendulum-v5"):
        assert random_return(env) == pytest.approx(RANGES[env].low, abs=1e-3)


#: Ranges: random policy 0, best evaluations 10 and 20
X = [[0.0, 2.0, 6.0], [0.0, 8.0, 10.0]], [[0.0, 0.0, 20.0], [0.0, 0.0, 10.0]]
Y = [[0.0, 1.0, 2.0], [0.0, 1.0, 7.0]], [[0.0, 1.0, 4.0], [0.0, 1.0, 4.0]]
BY_HAND = {("A", "tdac"): X[0], ("B", "tdac"): X[1], ("A", "ppo"): Y[0], ("B", "ppo"): Y[1]}
SECONDS_APART = {"tdac": 2.0, "ppo": 3.0}


def test_every_number_at_equal_steps_comes_from_the_evaluations(here: Path) -> None:
    write(here, BY_HAND, SECONDS_APART)
    assert main(["compare", "--from", ".", "--threshold", "B=20"]) == 0
    text = Path("comparison.md").read_text()
    tdac, ppo = table(text, "A")["tdac"], table(text, "A")["ppo"]
    assert tdac["deterministic: mean ± std"] == "8.00 ± 2.00"
    assert tdac["IQM"] == "8.00 (6.00 … 10.00)"
    assert tdac["stochastic: mean ± std"] == "7.00 ± 2.00"
    assert tdac["IQM1"] == "7.00 (5.00 … 9.00)"
    # The threshold 6 is reached after 20 and 10 steps, 4 and 2 seconds; PPO's first seed never
    # reaches it.
    assert tdac["reached 6"] == "2 of 2"
    assert (tdac["steps to it"], tdac["seconds to it"]) == ("15", "3.0")
    assert (ppo["reached 6"], ppo["steps to it"], ppo["seconds to it"]) == ("1 of 2", "-", "-")
    assert (tdac["seconds"], tdac["steps trained"], tdac["seeds"]) == ("4.0", "20", "2")
    assert table(text, "B")["tdac"]["reached 20"] == "1 of 2"
    # Scores of TDAC: 0.6, 1 | 1, 0.5; of PPO: 0.2, 0.7 | 0.2, 0.2
    equal_steps = section(text, "At equal steps")
    found = re.findall(
        r"\| (\w+) \| deterministic \| 4 \| (\S+) .*?\| (\S+) .*?\| (\S+) .*?\| (\S+) ", equal_steps
    )
    assert found[0] == ("tdac", "0.800", "0.775", "0.775", "0.225")
    assert found[1] == ("ppo", "0.200", "0.325", "0.325", "0.675")
    # Pairs: 6 > 2, 6 < 7, 10 > both: 3/4; 20 and 10 > 4: 1
    assert re.findall(r"\| tdac over ppo \| (\S+) .* (\d of \d) \|$", equal_steps, re.M) == [
        ("0.875", "2 of 2")
    ]
    assert "| A | 20 | 8.00 ± 2.00 (2) | 4.50 ± 2.50 (2) |" in equal_steps
    assert table(text, "Normalisation")["B"]["score 1"] == "20.00"


def test_at_equal_time_the_slower_one_counts_with_what_it_had_by_then(here: Path) -> None:
    write(here, BY_HAND, SECONDS_APART)
    # TDAC took 4 seconds; PPO was evaluated after 0, 3 and 6.
    assert main(["compare", "--from", "."]) == 0
    found = section(Path("comparison.md").read_text(), "At equal training time")
    assert "| A | 4.0 | 8.00 ± 2.00 (20) | 1.00 ± 0.00 (10) |" in found
    assert "| B | 4.0 | 15.00 ± 5.00 (20) | 1.00 ± 0.00 (10) |" in found
    # Scores of PPO: 0.1, 0.1 | 0.05, 0.05; one less with sampled actions: 0
    assert "| ppo | deterministic | 4 | 0.075 (" in found
    assert "| ppo | stochastic | 4 | 0.000 (" in found
    # The other way round PPO has 6 seconds, and TDAC was ready.
    assert main("compare --from . --algos ppo tdac --out y".split()) == 0
    found = section(Path("y/comparison.md").read_text(), "At equal training time")
    assert "| A | 6.0 | 4.50 ± 2.50 (20) | 8.00 ± 2.00 (20) |" in found
    assert "| ppo over tdac |" in found and "| 0 of 2 |" in found


def test_the_reference_counts_with_all_its_steps_though_half_its_seeds_took_longer() -> None:
    rows = [("A", "tdac", seed, 10 * i, (seed + 1) * i) for seed in range(3) for i in (0, 1)]
    table = pd.DataFrame(rows, columns=["env", "algo", "seed", "step", "cpu_seconds"])
    table = table.assign(timesteps=table.step, seconds=0.0, mode="deterministic", episode=0)
    comparison = Comparison(["tdac"], ["A"])
    comparison.evaluations = table.assign(**{"return": table.step})[COLUMNS]
    assert comparison.budgets[SECONDS] == {"A": 2.0}
    assert comparison.column(comparison.at(clock=SECONDS), "A", "tdac").tolist() == [10, 10, 10]
    assert comparison.column(comparison.at(clock=SECONDS, share=0.9), "A", "tdac").sum() == 0


def section(text: str, title: str) -> str:
    return text.split(f"## {title}\n")[1].split("\n## ")[0]


def test_one_environment_one_seed_and_one_algorithm_are_enough(here: Path) -> None:
    write(here, {("A", "a2c"): [[1.0, 2.0]]}, {"a2c": 1.0})
    assert main(["compare", "--from", "."]) == 0
    text = Path("comparison.md").read_text()
    assert table(text, "A")["a2c"]["IQM"] == "2.00"
    assert "| a2c | stochastic | 1 | 0.500 | 0.500 | 0.500 |" in text
    assert "improvement" not in text


def test_redrawing_gives_the_same_table(compared: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(compared)
    monkeypatch.setattr("gzip.time.time", lambda: 0.0)  # at another time
    before = (OUT / "comparison.md").read_text()
    evaluations = (OUT / "evaluations.csv.gz").read_bytes()
    (OUT / "comparison.md").unlink()
    assert main(["compare", "--from", str(OUT)]) == 0
    assert (OUT / "comparison.md").read_text() == before
    assert (OUT / "evaluations.csv.gz").read_bytes() == evaluations
    assert json.loads((OUT / "comparison.json").read_text())["algos"] == ["tdac", "a2c"]


def test_the_evaluations_alone_give_the_same_numbers(compared: Path, here: Path) -> None:
    shutil.copy(compared / OUT / "evaluations.csv.gz", here)
    assert main(["compare", "--from", "."]) == 0
    found, expected = Path("comparison.md").read_text(), (compared / OUT / "comparison.md")
    for title in ("At equal steps", "At equal training time", *ENVS, "Normalisation"):
        assert section(found, title) == section(expected.read_text(), title)


def test_an_interrupted_comparison_is_drawn_from_what_is_finished(
    compared: Path, here: Path
) -> None:
    shutil.copytree(compared / OUT, here / "x")
    for name in ("evaluations.csv.gz", "comparison.md"):
        (here / "x" / name).unlink()
    shutil.rmtree(here / "x" / "a2c" / "Pendulum-v1_2")
    unfinished = here / "x" / "a2c" / "CartPole-v1_2" / "evaluations.jsonl"
    unfinished.write_text(unfinished.read_text()[:-1])
    assert main(["compare", "--from", "x"]) == 0
    text = Path("x/comparison.md").read_text()
    assert [table(text, env)["a2c"]["seeds"] for env in ENVS] == ["1 of 2", "1 of 2"]
    assert [table(text, env)["tdac"]["seeds"] for env in ENVS] == ["2", "2"]


def test_folders_with_other_budgets_are_joined(here: Path) -> None:
    longer = {("C", "tdac"): [[0.0, 1.0, 2.0, 9.0]] * 3, ("C", "ppo"): [[0.0, 1.0, 2.0, 3.0]]}
    for name, returns in (("x", BY_HAND), ("y", longer)):
        write(here / name, returns, SECONDS_APART)
    assert main("compare --from x y --out z".split()) == 0
    text = Path("z/comparison.md").read_text()
    assert "| A | 20 | 8.00 ± 2.00 (2) |" in text and "| C | 30 | 9.00 ± 0.00 (3) |" in text
    # TDAC's scores on C are 1: (0.8 + 0.75 + 1) / 3 = 0.85
    assert re.search(r"\| tdac \| deterministic \| 7 \|.*\| 0.850 \(", text)
    assert "on 3 of 3 environments" in text
    # What was joined can be drawn again, or a part of it.
    assert main("compare --from z --env C --out c".split()) == 0
    assert section(Path("c/comparison.md").read_text(), "C") == section(text, "C")


def test_seeds_trained_apart_are_joined(here: Path) -> None:
    command = (
        "compare --env CartPole-v1 --algos tdac -n 64 --eval-freq 64 --eval-episodes 1".split()
    )
    for name, more in (("x", "--seeds 1"), ("y", "--first-seed 1 --seeds 2")):
        assert main([*command, *more.split(), "--workers", "1", "--out", name]) == 0
    assert main("compare --from x y --out z".split()) == 0
    assert table(Path("z/comparison.md").read_text(), "CartPole-v1")["tdac"]["seeds"] == "3"
    found = read(Path("z"))
    assert list(found.evaluations.seed.unique()) == found.seeds["CartPole-v1"]["tdac"] == [0, 1, 2]


def test_settings_are_those_of_the_runs_that_were_joined(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def entry(folder: str, gamma: float) -> None:
        path = Path(folder, "comparison.json")
        known = {"entry": {"gamma": gamma}, "defaults": {f"since_version_{folder}": "None"}}
        settings = {"A": {"tdac": {"origin": "tdac.yml, A", **known}}}
        path.write_text(json.dumps(json.loads(path.read_text()) | {"settings": settings}))

    later = {("A", "tdac"): [[0.0, 1.0, 2.0]] * 4}
    write(here / "x", {("A", "a2c"): later["A", "tdac"], **later}, SECONDS_APART | {"a2c": 1.0})
    write(here / "y", later, SECONDS_APART)
    entry("x", 0.9)
    entry("y", 0.8)
    # Without the runs of the earlier entry there is nothing left of it
    assert main("compare --from x --algos a2c --out others".split()) == 0
    assert main("compare --from others y --out z".split()) == 0
    assert read(Path("z")).settings["A"]["tdac"]["entry"] == {"gamma": 0.8}
    found = read(Path("y"))
    found.evaluations["seed"] += 4
    found.write(here / "y")
    said = error_line(capsys, "compare", "--from", "x", "y", "--out", "both")
    assert "tdac on A was not trained with the same gamma in all folders" in said
    entry("y", 0.9)
    assert main("compare --from x y --out both".split()) == 0


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({}, "tdac on A, seed 0, is in two folders"),
        ({("A", "a2c"): [[0.0, 1.0]]}, "A: a2c and ppo were not evaluated after the same steps"),
    ],
)
def test_unequal_evaluations_are_not_joined(
    change: dict[tuple[str, str], list[list[float]]],
    said: str,
    here: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    write(here / "x", BY_HAND, SECONDS_APART)
    write(here / "y", change or BY_HAND, SECONDS_APART | {"a2c": 1.0})
    assert said in error_line(capsys, "compare", "--from", "x", "y", "--out", "z")


def test_what_older_versions_wrote_is_refused(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pd.DataFrame({"env": ["A"], "algo": ["a2c"]}).to_csv("evaluations.csv.gz", index=False)
    assert "has no column seed: it is of an older kind" in error_line(
        capsys, "compare", "--from", "."
    )
    Path("comparison.json").write_text('{"command": "x"}')
    assert "comparison.json is of an older kind" in error_line(capsys, "compare", "--from", ".")


def test_a_seed_that_is_missing_on_one_environment_counts_on_the_others(here: Path) -> None:
    # Ranges 0 to 10 on both
    returns = {("A", "tdac"): [[0.0, 0.0], [0.0, 0.0], [0.0, 10.0]]}
    write(here, returns | {("B", "tdac"): [[0.0, 10.0], [0.0, 6.0]]}, SECONDS_APART)
    assert main(["compare", "--from", "."]) == 0
    text = Path("comparison.md").read_text()
    assert table(text, "A")["tdac"]["deterministic: mean ± std"] == "3.33 ± 4.71"
    assert (table(text, "A")["tdac"]["seeds"], table(text, "B")["tdac"]["seeds"]) == ("3", "2")
    # Means of the environments: 1/3 and 0.8
    assert re.search(r"\| tdac \| deterministic \| 5 \|.*\| 0.567 \(", text)


def test_an_environment_that_one_contender_lacks_is_named(here: Path) -> None:
    write(here, BY_HAND | {("C", "tdac"): [[0.0, 1.0]]}, SECONDS_APART)
    assert main(["compare", "--from", "."]) == 0
    text = Path("comparison.md").read_text()
    assert "C is not in the aggregates: no run of ppo finished." in text
    assert "on 2 of 3 environments" in text
    assert table(text, "C")["ppo"]["seeds"] == "0"


@pytest.mark.parametrize("algorithm", [A2C, TDAC])
def test_evaluations_do_not_change_the_training(
    algorithm: type[A2C | TDAC], tmp_path: Path
) -> None:
    run = Run(tmp_path, "Pendulum-v1", "any", 0, {"n_timesteps": 200, "eval_freq": 50})
    run.folder.mkdir(parents=True)
    parameters = []
    for evaluated in (False, True):
        model = algorithm("MlpPolicy", make_vec_env("Pendulum-v1", 4, seed=0), seed=0)
        callback = Evaluation(run, make_vec_env("Pendulum-v1", 2)) if evaluated else None
        parameters.append(model.learn(200, callback).policy.state_dict())
    assert [row["step"] for row in run.evaluations()] == [*[0] * 2, *[50] * 2, *[100] * 2, 150, 150]
    for name, value in parameters[0].items():  # A2C's differ by rounding, in the last bit
        assert value.allclose(parameters[1][name], rtol=0, atol=1e-6), name


def test_time_of_training_leaves_out_that_of_evaluation(compared: Path) -> None:
    found = read(compared / OUT).returns
    assert (found[found.step == 0].cpu_seconds < 0.05).all()
    by_run = found[found["mode"] == "deterministic"].groupby(["env", "algo", "seed"])
    assert (by_run.cpu_seconds.diff().dropna() > 0).all()
    assert (found.cpu_seconds <= found.seconds + 0.02).all()
