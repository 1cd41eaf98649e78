"""SB3's own tests with TDAC in A2C's place: all action and observation spaces, and images."""

from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import torch
from gymnasium import spaces
from helpers.environments import Steps, small_model, steps_envs
from helpers.saved_models import BOX, IMAGE, VECTOR
from stable_baselines3 import A2C
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.envs import FakeImageEnv
from stable_baselines3.common.torch_layers import BaseFeaturesExtractor
from stable_baselines3.common.vec_env import VecTransposeImage, is_vecenv_wrapped
from torch import nn
from torch.distributions import Normal

from sb3_tdac import TDAC

OBS = np.float32([0.5, -0.25, 1.0])
LARGEST = float(np.finfo(np.float32).max)
ACTION_SPACES = {
    "box": BOX,
    "box of two axes": spaces.Box(-1.0, 1.0, (2, 3)),
    "box of float64": spaces.Box(-1.0, 1.0, (2,), np.float64),
    "asymmetric box": spaces.Box(np.float32([-1, 5]), np.float32([3, 5.1])),
    "unbounded box": spaces.Box(-np.inf, np.inf, (2,)),
    "half-bounded box": spaces.Box(0.0, np.inf, (2,)),
    "box of the largest floats": spaces.Box(-LARGEST, LARGEST, (2,)),
    "discrete": spaces.Discrete(3),
    "multi-discrete": spaces.MultiDiscrete([2, 4]),
    "multi-binary": spaces.MultiBinary(3),
}
OBSERVATION_SPACES = {
    "box": ("MlpPolicy", VECTOR),
    "box of two axes": ("MlpPolicy", spaces.Box(-1.0, 1.0, (2, 3))),
    "unbounded box": ("MlpPolicy", spaces.Box(-np.inf, np.inf, (2,))),
    "box of bytes": ("MlpPolicy", spaces.Box(0, 255, (4,), np.uint8)),
    "discrete": ("MlpPolicy", spaces.Discrete(4)),
    "multi-discrete": ("MlpPolicy", spaces.MultiDiscrete([2, 4])),
    "multi-binary": ("MlpPolicy", spaces.MultiBinary(3)),
    "multi-binary of two axes": ("MlpPolicy", spaces.MultiBinary((2, 3))),
    "image": ("CnnPolicy", IMAGE),
    "image, channels last": ("CnnPolicy", spaces.Box(0, 255, (36, 36, 3), np.uint8)),
    "dict": ("MultiInputPolicy", spaces.Dict(vec=VECTOR, one=spaces.Discrete(4))),
    "dict with an image": ("MultiInputPolicy", spaces.Dict(vec=VECTOR, img=IMAGE)),
}


def parametrize(names: Any, cases: dict[str, Any]) -> pytest.MarkDecorator:
    return pytest.mark.parametrize(names, cases.values(), ids=cases.keys())


every_action_space = parametrize("space", ACTION_SPACES)
every_observation_space = parametrize(("policy", "space"), OBSERVATION_SPACES)


def build(
    policy: str = "MlpPolicy", space: Any = VECTOR, action_space: Any = BOX, **kwargs: Any
) -> Any:
    env = steps_envs(range(kwargs.pop("n_envs", 1)), action_space, space)
    return small_model(env, policy, **kwargs)


def stack(rows: list[Any]) -> Any:
    if isinstance(rows[0], dict):
        return {key: np.stack([row[key] for row in rows]) for key in rows[0]}
    return np.stack(rows)


class FirstStep(BaseCallback):
    """Starts the rollout from a seed, and stops at its first step; ``locals`` has that step."""

    def _on_rollout_start(self) -> None:
        generator = getattr(self.model, "generator", torch.default_generator)  # A2C has the latter
        generator.manual_seed(3)

    def _on_step(self) -> bool:
        return False


def first_step(model: Any) -> Any:
    model.learn(1, callback := FirstStep())
    return callback


@every_action_space
def test_the_environment_gets_actions_of_its_space(space: spaces.Space) -> None:
    model = build(action_space=space).learn(12)
    actions = model.get_env().envs[0].unwrapped.actions
    assert len(actions) == 12 and all(map(space.contains, actions))
    assert {np.shape(action) for action in actions} == {space.shape}


@every_action_space
def test_predict_gives_actions_of_the_space_with_the_dtype_of_a2c(space: spaces.Space) -> None:
    model = build(action_space=space)
    bounded = not isinstance(space, spaces.Box) or space.is_bounded()
    a2c_space = space if bounded else spaces.Box(-1.0, 1.0, space.shape)
    expected = A2C("MlpPolicy", steps_envs([0], a2c_space, VECTOR)).predict(OBS)[0].dtype
    for deterministic in [True, *[False] * 20]:
        action, _ = model.predict(OBS, deterministic=deterministic)
        assert space.contains(action)
        assert (action.shape, action.dtype) == (space.shape, expected)


@every_action_space
def test_predict_gives_what_a_rollout_sends_for_the_same_sample(space: spaces.Space) -> None:
    model = build(action_space=space, n_envs=2)
    step = first_step(model)
    torch.manual_seed(3)
    predicted, _ = model.predict(model._last_obs)
    np.testing.assert_allclose(predicted, step.locals["clipped_actions"], rtol=1e-5, atol=1e-6)


def log_prob_by_torch(distribution: Any, actions: torch.Tensor) -> torch.Tensor:
    if hasattr(distribution, "std"):
        flat = actions.reshape(len(actions), -1)
        return Normal(distribution.mean, distribution.std).log_prob(flat).sum(dim=1)
    parts = distribution.distribution
    if isinstance(parts, list):
        return sum(part.log_prob(actions[:, j]) for j, part in enumerate(parts))
    log_prob = parts.log_prob(actions)
    return log_prob.sum(dim=1) if log_prob.dim() == 2 else log_prob


@every_action_space
def test_evaluate_actions_takes_the_actions_of_the_callback_locals(space: spaces.Space) -> None:
    model = build(action_space=space, n_envs=2)
    locals_ = first_step(model).locals
    obs, actions = locals_["obs_tensor"], torch.as_tensor(locals_["actions"])
    values, log_prob, entropy = model.policy.evaluate_actions(obs, actions)
    assert (values.shape, log_prob.shape, entropy.shape) == ((2, 1), (2,), (2,))
    expected = log_prob_by_torch(model.policy.get_distribution(obs), actions)
    torch.testing.assert_close(log_prob, expected)
    torch.testing.assert_close(values, model.policy.predict_values(obs))


@every_observation_space
@pytest.mark.parametrize("action", ["box", "discrete"])
def test_single_and_vectorised_predictions_agree_and_repeat(
    policy: str, space: spaces.Space, action: str
) -> None:
    small = {"CnnPolicy": dict(features_dim=8), "MultiInputPolicy": dict(cnn_output_dim=8)}
    options = dict(features_extractor_kwargs=small.get(policy, {}))
    model = build(policy, space, ACTION_SPACES[action], policy_kwargs=options).learn(12)
    space.seed(2)
    rows = [space.sample() for _ in range(3)]
    together, _ = model.predict(stack(rows), deterministic=True)
    np.testing.assert_array_equal(together, model.predict(stack(rows), deterministic=True)[0])
    single = [model.predict(row, deterministic=True)[0] for row in rows]
    np.testing.assert_allclose(together, np.stack(single), rtol=1e-5, atol=1e-6)


def test_images_with_channels_last_are_transposed_for_training_and_for_predict() -> None:
    env = FakeImageEnv(screen_height=36, screen_width=40, n_channels=3, discrete=False)
    options = dict(features_extractor_kwargs=dict(features_dim=8))
    model = TDAC("CnnPolicy", env, policy_kwargs=options)
    assert is_vecenv_wrapped(model.get_env(), VecTransposeImage)
    assert model.observation_space.shape == (3, 36, 40)
    last = env.observation_space.sample()
    first = np.moveaxis(last, -1, 0)
    for obs in (last, last[None]):
        action, _ = model.predict(obs, deterministic=True)
        np.testing.assert_array_equal(action.reshape(5), model.predict(first, None, None, True)[0])


def test_a_dict_of_one_vector_learns_what_the_vector_does() -> None:
    space = spaces.Dict(vec=VECTOR)
    as_dict = TDAC("MultiInputPolicy", Steps(0, BOX, space), seed=1)
    before, _ = as_dict.predict({"vec": OBS}, deterministic=True)
    after, _ = as_dict.learn(40).predict({"vec": OBS}, deterministic=True)
    flat = gym.wrappers.FlattenObservation(Steps(0, BOX, space))
    as_vector = TDAC("MlpPolicy", flat, seed=1, fast_path=False)
    expected, _ = as_vector.learn(40).predict(OBS, deterministic=True)
    assert (after == expected).all() and (after != before).all()


class Linear(BaseFeaturesExtractor):
    def __init__(self, space: spaces.Box):
        super().__init__(space, features_dim=4)
        self.linear = nn.Linear(3, 4)

    def forward(self, obs: torch.Tensor) -> torch.Tensor:
        return self.linear(obs)


@pytest.mark.parametrize("share", [True, False])
def test_a_shared_features_extractor_learns_from_the_critic_alone(share: bool) -> None:
    """While the critic stands still, the actor moves the extractor only if it has its own."""
    options = dict(features_extractor_class=Linear, share_features_extractor=share)
    rate = [0.0]
    model = build(critic_learning_rate=lambda _: rate[0], policy_kwargs=options)
    actors, critics = model.policy.pi_features_extractor, model.policy.vf_features_extractor
    assert (actors is critics) == share
    before = actors.linear.weight.clone(), critics.linear.weight.clone()
    model.learn(12)
    assert torch.equal(before[0], actors.linear.weight) == share
    assert torch.equal(before[1], critics.linear.weight)
    rate[0] = 1e-3
    model.learn(12)
    assert not torch.equal(before[1], critics.linear.weight)


class Alternating(Steps):
    """The vector is 0, 4, 0, 4, ...; what else is observed stays."""

    def observe(self) -> Any:
        self.vector = 4.0 - getattr(self, "vector", 4.0)
        return self.states.sample() | {"vec": np.full(3, self.vector, np.float32)}


def test_normalize_observation_standardizes_vectors_and_leaves_images_and_numbers() -> None:
    space = spaces.Dict(vec=spaces.Box(0.0, 4.0, (3,)), img=IMAGE, one=spaces.Discrete(4))
    options = dict(features_extractor_kwargs=dict(cnn_output_dim=8))
    env = Alternating(0, VECTOR, space)
    model = TDAC("MultiInputPolicy", env, n_steps=2, policy_kwargs=options).learn(2)
    seen: list[Any] = []
    model.policy.pi_features_extractor.register_forward_pre_hook(lambda _, x: seen.append(x[0]))
    img = np.full((1, 36, 36), 51, np.uint8)
    model.predict({"vec": np.float32([4, 0, 2]), "img": img, "one": 2})
    # 0 and 4 have the mean 2 and the std 2
    np.testing.assert_allclose(seen[0]["vec"], [[1.0, -1.0, 0.0]], atol=1e-3)
    np.testing.assert_allclose(seen[0]["img"], np.full((1, 1, 36, 36), 51 / 255), rtol=1e-6)
    np.testing.assert_array_equal(seen[0]["one"], [[0, 0, 1, 0]])
