"""A contender is an algorithm with the configuration that its name says."""

import inspect

from sb3_tdac import TDAC
from sb3_tdac.zoo import register
from sb3_tdac.zoo.compare.contenders import Contender


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
