"""``load(safe=True)`` gives the model that ``load`` gives, or says what is not plain."""

import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from gymnasium import spaces
from helpers.model_state import assert_identical, state
from helpers.saved_models import (
    ASYMMETRIC,
    IMAGE,
    MODELS,
    environment_of,
    load_safely,
    refused,
    saved,
    with_entries,
)
from stable_baselines3.common.env_util import make_vec_env
from stable_baselines3.common.sb2_compat.rmsprop_tf_like import RMSpropTFLike
from stable_baselines3.common.torch_layers import FlattenExtractor

from sb3_tdac import TDAC, __version__
from sb3_tdac.persistence.plain_model import SETTINGS, WEIGHTS
from sb3_tdac.persistence.plain_values import decode_space, encode_space
from sb3_tdac.policies import TDACPolicy


@pytest.mark.parametrize("name", MODELS)
def test_the_model_is_the_one_that_load_gives_and_learns_the_same(name: str) -> None:
    options = MODELS[name][-1]
    observations = environment_of(name).reset()
    models = [
        loader(io.BytesIO(saved(name)), env=environment_of(name))
        for loader in (TDAC.load, lambda *args, **kwargs: TDAC.load(*args, safe=True, **kwargs))
    ]
    one, other = models
    assert other.policy_kwargs == options.get("policy_kwargs", {})  # SB3 makes lists of tuples
    not_kept = {"self", "env", "policy", "policy_kwargs", "_init_setup_model"}
    for attribute in one.constructor_arguments() - not_kept:
        attribute = {"stats_window_size": "_stats_window_size"}.get(attribute, attribute)
        assert getattr(one, attribute) == getattr(other, attribute), attribute
    for _ in range(2):
        assert_identical(state(one), state(other))
        assert (one.num_timesteps, one._n_updates) == (other.num_timesteps, other._n_updates)
        actions = [model.predict(observations, deterministic=True)[0] for model in models]
        np.testing.assert_array_equal(*actions)
        for model in models:
            model.learn(16, reset_num_timesteps=False)
    assert (
        one.policy.optimizer.param_groups[0]["lr"] == other.policy.optimizer.param_groups[0]["lr"]
    )


def test_an_untrained_model_without_an_environment_predicts() -> None:
    model, file = TDAC("MlpPolicy", "Pendulum-v1", seed=0), io.BytesIO()
    model.save(file)
    loaded, obs = load_safely(file.getvalue()), np.float32([1.0, 0.0, 0.5])
    assert not loaded.policy.optimizer.state
    np.testing.assert_array_equal(*(m.predict(obs, deterministic=True)[0] for m in (model, loaded)))


def test_arguments_of_the_constructor_can_be_changed(tmp_path: Path) -> None:
    model = load_safely(saved(), gamma=0.5, tensorboard_log=str(tmp_path))
    assert (model.gamma, model.tensorboard_log) == (0.5, str(tmp_path))
    with pytest.raises(TypeError, match="vf_coef"):
        load_safely(saved(), vf_coef=0.5)


@pytest.mark.parametrize(
    "option", [dict(custom_objects={}), dict(print_system_info=True), dict(force_reset=False)]
)
def test_an_option_that_safe_cannot_honour_is_refused(option: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="have no meaning"):
        load_safely(saved(), **option)


def test_another_environment_is_refused() -> None:
    with pytest.raises(ValueError, match="Observation spaces do not match"):
        load_safely(saved(), env=make_vec_env("Pendulum-v1"))


class OwnPolicy(TDACPolicy):
    pass


class OwnExtractor(FlattenExtractor):
    pass


def half(progress: float) -> float:
    return 0.5 * progress


@pytest.mark.parametrize(
    ("named", "options"),
    [
        ("OwnPolicy", dict(policy=OwnPolicy)),
        ("learning_rate is <function half", dict(learning_rate=half)),
        ("RMSpropTFLike", dict(policy_kwargs=dict(optimizer_class=RMSpropTFLike))),
        (
            "features_extractor_class",
            dict(policy_kwargs=dict(features_extractor_class=OwnExtractor)),
        ),
    ],
)
def test_what_is_not_plain_is_named_and_loads_without_safe(
    named: str, options: dict[str, Any]
) -> None:
    model, file = TDAC(**{"policy": "MlpPolicy", "env": "Pendulum-v1", **options}), io.BytesIO()
    model.learn(1).save(file)
    assert named in refused(file) and "load it without safe=True" in refused(file)
    assert_identical(state(TDAC.load(file)), state(model))


class OwnArgument(TDAC):
    def __init__(self, *args: Any, own: int = 0, **kwargs: Any):
        super().__init__(*args, **kwargs)


def test_a_subclass_with_an_argument_that_it_does_not_keep_can_be_saved() -> None:
    model, file = OwnArgument("MlpPolicy", "Pendulum-v1"), io.BytesIO()
    model.save(file)
    assert "no attribute 'own'" in refused(file)
    assert_identical(state(OwnArgument.load(file)), state(model))


def test_an_optimizer_that_was_changed_is_named() -> None:
    model, file = load_safely(saved()), io.BytesIO()
    model.policy.optimizer.param_groups[0]["eps"] = 0.5
    model.save(file)
    assert "'eps'" in refused(file)


def test_a_file_of_an_earlier_version_says_what_to_do() -> None:
    file = with_entries(saved(), {SETTINGS: None, WEIGHTS: None})
    assert "load it without safe=True and save it again" in refused(file)
    again = io.BytesIO()
    TDAC.load(file, device="cpu").save(again)
    assert_identical(state(load_safely(again.getvalue())), state(load_safely(saved())))


def test_sb3_unpickles_no_entry_of_the_plain_form() -> None:
    assert not SETTINGS.endswith(".pth") and not WEIGHTS.endswith(".pth")
    damaged = with_entries(saved(), {SETTINGS: b"\0", WEIGHTS: b"\0"})
    assert_identical(state(TDAC.load(damaged, device="cpu")), state(load_safely(saved())))


@pytest.mark.parametrize(
    "space",
    [
        IMAGE,
        ASYMMETRIC,
        spaces.Box(-np.inf, np.inf, (2, 3), np.float64),
        spaces.Box(np.int64([-(2**53) - 1, 0]), np.int64([2**62 + 1, 1]), dtype=np.int64),
        spaces.Discrete(3),
        spaces.MultiDiscrete([2, 4]),
        spaces.MultiBinary((2, 3)),
        spaces.Dict(b=spaces.Discrete(3), a=spaces.MultiBinary(2)),
    ],
    ids=lambda space: type(space).__name__,
)
def test_a_space_is_the_same_after_json(space: spaces.Space[Any]) -> None:
    decoded = decode_space(json.loads(json.dumps(encode_space("space", space))))
    assert decoded == space and decoded.dtype == space.dtype


def test_a_cut_file_is_not_taken_for_one_of_an_earlier_version(tmp_path: Path) -> None:
    """``zipfile`` finds an archive in it: the entry with the parameters is one."""
    path, whole = tmp_path / "model.zip", saved()
    for share in (0.25, 0.5, 0.75, 0.95):
        path.write_bytes(whole[: int(share * len(whole))])
        with pytest.raises(ValueError, match="path must be a model with plain") as error:
            TDAC.load(path, safe=True)
        text = str(error.value)
        assert f"saved with sb3_tdac {__version__}, " in text and "without safe=True" not in text
