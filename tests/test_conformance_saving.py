"""SB3's own tests with TDAC in A2C's place: saving, loading, copying, changing environments."""

import copy
import io
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cloudpickle
import numpy as np
import pytest
import torch
from helpers.environments import pendulum
from helpers.model_state import assert_identical, differences, numbers, state
from stable_baselines3.common.envs import FakeImageEnv

from sb3_tdac import TDAC

POLICY_KWARGS = dict(
    net_arch=[8],
    optimizer_class=torch.optim.Adam,
    critic_optimizer_class=torch.optim.RMSprop,
    std_bounds=(0.1, 0.9),
)
OBJECTS = {"policy", "policy.optimizer", "policy.critic_optimizer", "return_stats"}


def trained(seed: int = 1, **kwargs: Any) -> TDAC:
    """Five updates: both optimizers, and the statistics of observations and returns, have state."""
    options = dict(n_steps=4, policy_kwargs=POLICY_KWARGS, device="cpu") | kwargs
    return TDAC("MlpPolicy", pendulum(), seed=seed, **options).learn(40)


def predicted(model: Any, obs: Any) -> Any:
    return model.predict(obs, deterministic=True)[0]


def through(module: Any) -> Callable[[Any], Any]:
    return lambda item: module.loads(module.dumps(item))


@pytest.mark.parametrize("device", ["cpu", "auto"])
def test_load_restores_networks_statistics_and_both_optimizers(tmp_path: Path, device: str) -> None:
    model = trained()
    model.save(tmp_path / "model")
    loaded = TDAC.load(tmp_path / "model", device=device)
    assert set(model.get_parameters()) >= OBJECTS
    assert model.policy.optimizer.state and model.policy.critic_optimizer.state
    assert_identical(state(model), state(loaded))
    assert loaded.policy.device == loaded.device


def test_a_model_goes_through_paths_open_files_and_memory(tmp_path: Path) -> None:
    model, memory = trained(), io.BytesIO()
    model.save(tmp_path / "model")
    model.save(memory)
    memory.seek(0)
    with (tmp_path / "model.zip").open("rb") as file:
        for source in (tmp_path / "model", str(tmp_path / "model.zip"), file, memory):
            assert_identical(state(model), state(TDAC.load(source)))


@pytest.mark.parametrize("force_reset", [True, False], ids=["reset", "mid-episode"])
def test_training_continued_from_a_file_equals_training_continued(
    tmp_path: Path, force_reset: bool
) -> None:
    """On the same data, mid-episode with the same t of (4.6) and the same discounted return."""
    model = trained(discount_states=True)
    model.save(tmp_path / "model")
    env = pendulum() if force_reset else copy.deepcopy(model.get_env())
    loaded, before = TDAC.load(tmp_path / "model", env, force_reset=force_reset), state(model)
    if force_reset:
        model.set_env(pendulum())
        loaded.set_env(pendulum())
    for one in (model, loaded):
        one.generator.manual_seed(2)
        one.learn(40, reset_num_timesteps=False)
        assert one.num_timesteps == 80
    assert_identical(state(model), state(loaded))
    assert differences(state(model), before)


def test_statistics_are_saved_so_that_predict_is_the_same(tmp_path: Path) -> None:
    model = trained()
    obs_stats = model.policy.observation_normalizer.stats["observation"]
    for stats in (obs_stats, model.return_stats):
        assert stats.count.item() == pytest.approx(40.0001)  # 40 rows, and a start of 1e-4
    model.save(tmp_path / "model")
    loaded, obs = TDAC.load(tmp_path / "model"), pendulum().reset()
    assert torch.equal(loaded.return_stats.std, model.return_stats.std)
    assert loaded.return_stats.std.dtype == torch.float64
    np.testing.assert_array_equal(predicted(loaded, obs), predicted(model, obs))
    obs_stats.mean.add_(1.0)
    assert (predicted(model, obs) != predicted(loaded, obs)).all()


@pytest.mark.parametrize("source", ["dict", "file"])
def test_set_parameters_makes_one_model_the_other(tmp_path: Path, source: str) -> None:
    model, other = trained(seed=1), trained(seed=2)
    assert differences(state(model), state(other))
    model.save(tmp_path / "model")
    other.set_parameters(model.get_parameters() if source == "dict" else str(tmp_path / "model"))
    assert_identical(state(model), state(other))


def test_set_parameters_without_exact_match_sets_what_it_is_given() -> None:
    model = trained()
    expected = state(model) | {"/policy/value_net.bias": np.array([3.0])}
    model.set_parameters({"policy": {"value_net.bias": torch.tensor([3.0])}}, exact_match=False)
    assert_identical(state(model), expected)


Damage = Callable[[dict[str, Any]], Any]
DAMAGES: list[tuple[Damage, bool, type[Exception], str]] = [
    (lambda p: p.update(no_such_object={}), True, ValueError, "no_such_object"),
    (lambda p: p.update(no_such_object={}), False, ValueError, "no_such_object"),
    (lambda p: p.pop("return_stats"), True, ValueError, "return_stats"),
    (lambda p: p["return_stats"].pop("count"), True, RuntimeError, "count"),
    (lambda p: p["return_stats"].update(mean=torch.zeros(2)), False, RuntimeError, "mean"),
    (lambda p: p["policy.optimizer"].update(param_groups=[]), True, ValueError, "group"),
]


@pytest.mark.parametrize(("damage", "exact_match", "error", "message"), DAMAGES)
def test_parameters_that_do_not_fit_change_nothing(
    damage: Damage, exact_match: bool, error: type[Exception], message: str
) -> None:
    """They are another model's, and the networks among them fit."""
    model, parameters = trained(seed=1), copy.deepcopy(trained(seed=2).get_parameters())
    damage(parameters)
    before = state(model)
    with pytest.raises(error, match=message):
        model.set_parameters(parameters, exact_match)
    assert_identical(state(model), before)


def test_exclude_include_and_custom_objects_of_save_and_load(tmp_path: Path) -> None:
    model, path = trained(gamma=0.5, learning_rate=1e-4), tmp_path / "model"
    model.save(path, exclude=["gamma"])
    assert TDAC.load(path).gamma == trained().gamma  # the constructor's
    model.save(path, exclude=["gamma"], include=["gamma"])
    loaded = TDAC.load(path, custom_objects=dict(learning_rate=2e-5, dummy=1))
    assert (loaded.gamma, loaded.learning_rate) == (0.5, 2e-5)
    assert not hasattr(loaded, "dummy")


def test_a_model_loads_with_another_number_of_environments(tmp_path: Path) -> None:
    model = trained()
    model.save(tmp_path / "model")
    loaded = TDAC.load(tmp_path / "model", pendulum(n_envs=3))
    assert_identical(state(model), state(loaded))
    loaded.learn(24)  # 2 updates of 4 steps in 3 environments, after 5
    assert (loaded.num_timesteps, loaded._n_updates) == (24, 7)


def test_keywords_of_load_take_the_place_of_what_was_saved(tmp_path: Path) -> None:
    trained().save(tmp_path / "model")
    changes = dict(learning_rate=0.25, critic_learning_rate="lin_0.5", n_steps=2, gamma=0.5)
    loaded = TDAC.load(tmp_path / "model", pendulum(), **changes).learn(8)
    assert (loaded.gamma, loaded._n_updates) == (0.5, 7)  # 2 updates of 2 * 2, after 5
    assert loaded.policy.optimizer.param_groups[0]["lr"] == 0.25
    assert loaded.policy.critic_optimizer.param_groups[0]["lr"] == 0.0


def test_set_env_starts_anew_with_force_reset_and_goes_on_without(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    model = trained()
    env, obs = model.get_env(), model._last_obs
    model.set_env(env, force_reset=False)
    assert model._last_obs is obs
    monkeypatch.setattr(env, "reset", None)  # a reset would raise
    assert model.learn(40, reset_num_timesteps=False).num_timesteps == 80
    model.set_env(pendulum(), force_reset=True)
    assert model._last_obs is None


def test_set_env_refuses_another_number_of_environments_as_a2c_does() -> None:
    model = trained()
    env, before = model.get_env(), model._last_obs
    with pytest.raises(AssertionError, match="number of environments"):
        model.set_env(pendulum(n_envs=3))
    assert model.get_env() is env and model._last_obs is before


def images(channel_first: bool = False) -> FakeImageEnv:
    return FakeImageEnv(screen_height=36, screen_width=36, channel_first=channel_first)


@pytest.mark.parametrize("channel_first", [True, False])
def test_a_model_of_images_predicts_the_same_after_load(
    tmp_path: Path, channel_first: bool
) -> None:
    options = dict(features_extractor_kwargs=dict(features_dim=8))
    env = images(channel_first)
    model = TDAC("CnnPolicy", env, n_steps=4, policy_kwargs=options).learn(12)
    model.save(tmp_path / "model")
    obs = np.stack([env.observation_space.sample() for _ in range(20)])
    loaded = TDAC.load(tmp_path / "model", images(channel_first))
    np.testing.assert_array_equal(predicted(loaded, obs), predicted(model, obs))
    assert loaded.learn(4).num_timesteps == 4


def test_a_saved_policy_predicts_and_evaluates_without_its_model(tmp_path: Path) -> None:
    policy, obs = trained().policy, pendulum().reset()
    policy.save(tmp_path / "policy")
    loaded = type(policy).load(tmp_path / "policy", device="cpu")
    np.testing.assert_array_equal(predicted(loaded, obs), predicted(policy, obs))
    assert_identical(numbers(loaded.state_dict()), numbers(policy.state_dict()))
    assert loaded.std_bounds == (0.1, 0.9)
    assert isinstance(loaded.optimizer, torch.optim.Adam)
    assert isinstance(loaded.critic_optimizer, torch.optim.RMSprop)


@pytest.mark.parametrize("duplicate", [copy.deepcopy, through(cloudpickle)])
def test_a_copied_model_is_equal_and_learns_on_its_own(duplicate: Callable[[Any], Any]) -> None:
    model = trained()
    twin, before = duplicate(model), state(model)
    assert_identical(state(twin), before)
    twin.learn(8)
    assert_identical(state(model), before)
    assert differences(state(twin), before)


@pytest.mark.parametrize("duplicate", [copy.deepcopy, through(cloudpickle), through(pickle)])
def test_a_copied_policy_predicts_the_same(duplicate: Callable[[Any], Any]) -> None:
    policy, obs = trained().policy, pendulum().reset()
    np.testing.assert_array_equal(predicted(duplicate(policy), obs), predicted(policy, obs))
