"""The search for defaults and the check of the defaults, on small sizes."""

import inspect
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import optuna
import pandas as pd
import pytest
import runs
import search_defaults
from helpers.scripts import call_main
from lqr import SYSTEMS, LinearGaussian, LQREnv, discounted_cost, optimal_gain
from search_defaults import LQR_GAMMA, Run, iqm, train
from stable_baselines3.common.env_util import make_vec_env

from sb3_tdac import TDAC, MlpPolicy


def first_row(printed: str) -> list[str]:
    """Problem, environments, algorithm, seeds and diverged runs in the first row of the table."""
    row = next(line for line in printed.splitlines() if "TDAC" in line)
    return [cell.strip() for cell in row.split("|")[1:6]]


class Controller:
    """A linear controller that never learns."""

    def __init__(self, *args: Any, **kwargs: Any):
        env = LQREnv(**SYSTEMS["double-integrator"])
        self.gain = 1.5 * optimal_gain(env, LQR_GAMMA)

    def learn(self, timesteps: int) -> None:
        pass

    def predict(self, obs: Any, deterministic: bool) -> Any:
        assert deterministic
        return -obs @ self.gain.T, None


def test_score_of_a_regulator_is_the_least_cost_over_its_own(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Costs in closed form, for the distribution of first states and without a time limit."""
    monkeypatch.setitem(search_defaults.ALGORITHMS, "TDAC", Controller)  # type: ignore[arg-type]
    found = train(Run("TDAC", "double-integrator", 1, 0))
    env = LQREnv(**SYSTEMS["double-integrator"])
    best = optimal_gain(env, LQR_GAMMA)
    costs = [
        -LinearGaussian(env, gain, 0.0, LQR_GAMMA).performance() for gain in (best, 1.5 * best)
    ]
    assert found["score"] == pytest.approx(costs[0] / costs[1], rel=0.05)  # 256 random starts
    sampled = [
        discounted_cost(env, lambda x, gain=gain: -x @ gain.T, LQR_GAMMA)
        for gain in (best, 1.5 * best)
    ]
    assert found["score"] == pytest.approx(sampled[0] / sampled[1], rel=1e-5)


def test_interquartile_mean_is_the_mean_of_the_middle_half() -> None:
    assert iqm(np.array([100.0, 1.0, 2.0, 3.0, 4.0, -50.0, 9.0, 0.0])) == (1 + 2 + 3 + 4) / 4


def test_a_diverged_run_counts_as_zero_and_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    def diverge(*args: Any, **kwargs: Any) -> Any:
        raise ValueError("not finite")

    monkeypatch.setitem(search_defaults.ALGORITHMS, "TDAC", diverge)
    rows = pd.DataFrame([train(Run("TDAC", "CartPole-v1", 1, 0))])
    assert rows["value"].isna().all()
    assert first_row(search_defaults.table(rows)) == ["CartPole-v1", "1", "TDAC", "1", "1"]


def test_environments_are_not_rendered(monkeypatch: pytest.MonkeyPatch) -> None:
    """LunarLander simulates each particle of its exhaust if it may be rendered."""
    made = []

    def make(*args: Any, **kwargs: Any) -> Any:
        made.append(make_vec_env(*args, **kwargs))
        return made[-1]

    monkeypatch.setattr(runs, "make_vec_env", make)
    train(Run("TDAC", "Pendulum-v1", 1, 0), timesteps=64)
    assert [(env.num_envs, env.render_mode) for env in made] == [(1, None), (20, None)]


def test_check_trains_what_is_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runs, "ProcessPoolExecutor", lambda *_, **__: ThreadPoolExecutor(1))
    out = tmp_path / "defaults.csv"
    check = ["check", "--problems", "double-integrator", "--n-envs", "2", "--timesteps", "64"]
    check += ["--out", str(out), "--seeds"]
    call_main(search_defaults, *check, "1")
    first = pd.read_csv(out)
    assert "TDAC: IQM of the scores" in call_main(search_defaults, *check, "2")
    rows = pd.read_csv(out)
    assert list(rows["seed"]) == [0, 1]
    pd.testing.assert_frame_equal(rows.iloc[:1], first)
    printed = call_main(search_defaults, *check, "1")  # the table has only the runs asked for
    assert first_row(printed) == ["double-integrator", "2", "TDAC", "1", "0"]


def test_the_search_starts_from_the_constructors_defaults() -> None:
    drawn = search_defaults.draw(optuna.trial.FixedTrial(search_defaults.DEFAULTS))  # type: ignore[arg-type]
    policy = inspect.signature(MlpPolicy.__init__).parameters
    defaults = {**policy, **inspect.signature(TDAC.__init__).parameters}
    assert TDAC("MlpPolicy", make_vec_env("CartPole-v1", 8)).n_steps == drawn.pop("n_steps")
    for name, value in (drawn | drawn.pop("policy_kwargs")).items():
        default = defaults[name].default
        if isinstance(value, str):
            value, default = (float(each.removeprefix("lin_")) for each in (value, default))
        assert value == default or value == pytest.approx(default), name


def test_one_problem_is_searched_as_often_as_it_is_named_from_the_given_settings(
    tmp_path: Path,
) -> None:
    search = ["search", "--problems", "coupled", "coupled", "--first", '{"gamma": 0.995}']
    search += ["--study", str(tmp_path / "study.log"), "--trials", "1", "--timesteps", "64"]
    printed = call_main(search_defaults, *search)
    assert "'0: coupled, 8': " in printed and "'1: coupled, 8': " in printed
    assert '"n_steps": 4, "gamma": 0.995' in printed


def test_search_goes_on_with_its_study(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(search_defaults, "SEARCHED", [("CartPole-v1", 2), ("coupled", 1)])
    search = ["search", "--trials", "1", "--timesteps", "64"]
    search += ["--study", str(tmp_path / "study.log")]
    printed = [call_main(search_defaults, *search) for _ in range(2)]
    assert [text.count('"learning_rate"') for text in printed] == [1, 2]
