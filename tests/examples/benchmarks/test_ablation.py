"""The ablation changes one thing at a time, covers every open choice, and counts every run."""

import math
from pathlib import Path

import ablation
import gymnasium as gym
import numpy as np
import pandas as pd
import pytest
from ablation_variants import (
    ALTERNATIVES,
    DEFAULTS,
    RECIPE,
    LimitIsEnd,
    applies,
    arguments,
    clip_stored_actions,
    variants,
)
from helpers.scripts import call_main
from stable_baselines3.common.env_util import make_vec_env
from torch import nn, optim

from sb3_tdac import TDAC, TEXTBOOK

ALGORITHM = Path(__file__).parents[3] / "docs" / "algorithm.md"
OPTIONS = "--problems CartPole-v1 double-integrator --seeds 2 --timesteps 40".split()
OPTIONS += ["--variants", "critic_first=False", "scale_actions=False", "recipe"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("ablation")
    call_main(ablation, *OPTIONS, "--out", str(folder))
    return folder


# --- variants ---------------------------------------------------------------------------------


def test_every_open_choice_of_the_documentation_has_alternatives() -> None:
    section = ALGORITHM.read_text().split("| open choice |")[1].split("\n\n")[0]
    choices = [line.split("|")[1].strip() for line in section.splitlines()[2:]]
    assert len(choices) > 10
    assert set(choices) <= set(ALTERNATIVES)
    found = {choice for choice, _ in variants()}
    assert set(choices) <= found


def test_every_variant_differs_from_the_defaults_and_the_constructor_takes_it() -> None:
    env = gym.make("Pendulum-v1")
    for (choice, name), change in variants().items():
        assert any(DEFAULTS[key] != value for key, value in change.items()) == bool(choice), name
        options, outside = arguments(change)
        assert set(change) == {*options, *options.get("policy_kwargs", {}), *outside} & set(change)
        TDAC("MlpPolicy", env, device="cpu", **{"n_steps": 4, **options})


def test_recipe_is_the_text_with_its_own_networks_and_optimizers() -> None:
    options, outside = arguments(RECIPE)
    assert outside == dict(limit_is_end=False, clip_stored_actions=False, n_envs=1)
    model = TDAC("MlpPolicy", "Pendulum-v1", device="cpu", **options)
    for key in TEXTBOOK.keys() - {"critic_learning_rate", "policy_kwargs", "fast_path"}:
        assert getattr(model, key) == TEXTBOOK[key], key
    assert model.policy.std_bounds == TEXTBOOK["policy_kwargs"]["std_bounds"]
    assert (model.learning_rate, model.critic_learning_rate, model.n_steps) == (1e-4, 1e-3, 32)
    linear = [m.out_features for m in model.policy.mlp_extractor.policy_net if hasattr(m, "bias")]
    assert linear == [64, 32, 16]
    assert isinstance(model.policy.mlp_extractor.value_net[1], nn.ReLU)
    assert type(model.policy.optimizer) is optim.Adam
    assert model.policy.optimizer.param_groups[0]["betas"] == (0.9, 0.999)


def test_a_wrapped_time_limit_is_an_end() -> None:
    env = LimitIsEnd(gym.make("Pendulum-v1", max_episode_steps=2))
    env.reset(seed=0)
    assert [env.step([0.0])[2:4] for _ in range(2)] == [(False, False), (True, False)]


@pytest.mark.parametrize("scale_actions", [True, False])
def test_clipped_actions_are_those_of_the_environment(scale_actions: bool) -> None:
    kwargs = dict(std_bounds=(5.0, math.inf), std_init=6.0, scale_actions=scale_actions)
    actions = {}
    for clipped in (False, True):
        env = make_vec_env("Pendulum-v1", 4, seed=0)
        model = TDAC("MlpPolicy", env, n_steps=8, seed=0, policy_kwargs=kwargs)
        if clipped:
            clip_stored_actions(model)
        model.learn(32)
        actions[clipped] = model.rollout_buffer.actions.copy()
    bound = 1.0 if scale_actions else 2.0
    assert np.abs(actions[False]).max() > bound
    np.testing.assert_array_equal(actions[True], np.clip(actions[False], -bound, bound))


def test_changes_of_the_gaussian_are_left_out_where_actions_are_discrete() -> None:
    assert not applies(dict(std_bounds=(0.1, 1.0)), discrete=True)
    assert applies(dict(std_bounds=(0.1, 1.0)), discrete=False)
    assert applies(dict(gamma=0.9), discrete=True) and applies(RECIPE, discrete=True)
    assert applies({}, discrete=True)


# --- runs -------------------------------------------------------------------------------------


def test_every_run_is_a_line_and_every_variant_a_row(folder: Path) -> None:
    rows = pd.read_csv(folder / "ablation.csv")
    # CartPole: defaults, critic_first, recipe; the regulator also scale_actions; two seeds
    assert rows.groupby("problem").size().to_dict() == {"CartPole-v1": 6, "double-integrator": 8}
    assert rows.score.notna().all() and (rows[rows.problem != "CartPole-v1"].score > 0.9).all()
    text = (folder / "ablation.md").read_text()
    found = {line.split("|")[2].strip(): line for line in text.splitlines() if line[:1] == "|"}
    assert {name for _, name in variants()} <= set(found)
    assert found["scale_actions=False"].split("|")[3].strip() == "-"
    mean = rows.query("problem == 'CartPole-v1' and variant == 'defaults'").score.mean()
    assert found["defaults"].split("|")[3].strip().startswith(f"{mean:.1f} (")
    assert (folder / "ablation.png").stat().st_size > 10_000


def test_only_missing_runs_are_trained(folder: Path) -> None:
    before = (folder / "ablation.csv").read_text()
    assert "14 of 14 runs" in call_main(ablation, *OPTIONS, "--out", str(folder))
    assert (folder / "ablation.csv").read_text() == before


def test_other_defaults_steps_or_environments_make_other_runs(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    job = ablation.Job("CartPole-v1", "", "defaults", 0, 8, 40)
    found = {job.settings, job._replace(n_envs=1).settings, job._replace(timesteps=41).settings}
    monkeypatch.setitem(DEFAULTS, "gamma", 0.5)
    assert len(found | {job.settings}) == 4


def test_intervals_are_of_all_seeds_and_what_diverged_is_counted() -> None:
    scores = {
        ("Pendulum-v1", "defaults"): [-100.0, -100.0],
        ("Pendulum-v1", "a"): [-200.0, -200.0],
        ("Pendulum-v1", "b"): [-100.0, math.nan],
        ("Pendulum-v1", "c"): [math.nan, math.nan],
        ("coupled", "defaults"): [1.0, 4.0],
    }
    rows = [(*key, seed, x) for key, xs in scores.items() for seed, x in enumerate(xs)]
    columns = ["problem", "variant", "seed", "score"]
    results = ablation.summary(pd.DataFrame(rows, columns=columns))
    cells = [ablation.cell(results, "Pendulum-v1", name) for name in ("defaults", *"abcd")]
    assert cells == [
        "-100.0 (-100.0 … -100.0)",
        "**-200.0 (-200.0 … -200.0)**",
        "-100.0 (-100.0 … -100.0), 1 of 2 diverged",
        "**all 2 diverged**",
        "-",
    ]
    # Costs have a geometric mean: the root of 1 * 4
    assert ablation.cell(results, "coupled", "defaults") == "2.000 (1.000 … 4.000)"
    assert results.worst.loc["coupled", "defaults"] == 4.0
