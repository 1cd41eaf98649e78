"""Runs sixteen short trainings and compares two versions of sb3_tdac bit for bit.

Run it with the interpreter of each version, then compare the two files::

    OLD/bin/python examples/benchmarks/bit_for_bit.py record old.npz
    NEW/bin/python examples/benchmarks/bit_for_bit.py record new.npz
    NEW/bin/python examples/benchmarks/bit_for_bit.py compare old.npz new.npz

A file holds the parameters, the state of both optimizers and all running statistics after each
training. Only the public interface of sb3_tdac is used, so that old versions can be recorded.
"""

import argparse
import copy
import io
from collections.abc import Callable
from typing import Any

import gymnasium as gym
import numpy as np
import torch
from gymnasium import spaces
from stable_baselines3.common.vec_env import DummyVecEnv, VecNormalize
from torch import nn

from sb3_tdac import TDAC, TEXTBOOK

VECTOR = spaces.Box(-np.inf, np.inf, (3,), np.float32)
IMAGE = spaces.Box(0, 255, (36, 36, 3), np.uint8)
BOUNDED = spaces.Box(-2.0, 2.0, (2,), np.float32)
DICT = spaces.Dict({"position": VECTOR, "room": spaces.Discrete(3)})


class Episodes(gym.Env[Any, Any]):
    """Random observations; episodes of 5 steps terminate or reach a time limit, by turns.

    :param seed: of the observations
    :param space: of one observation
    :param action_space: of one action
    """

    def __init__(self, seed: int, space: spaces.Space[Any], action_space: spaces.Space[Any]):
        self.observation_space, self.action_space = space, action_space
        self.observation_space.seed(seed)
        self.episode = self.elapsed = 0

    def reset(self, **kwargs: Any) -> tuple[Any, dict[str, Any]]:
        super().reset(**kwargs)
        self.episode, self.elapsed = self.episode + 1, 0
        return self.observation_space.sample(), {}

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        self.elapsed += 1
        ends, is_limit = self.elapsed == 5, self.episode % 2 == 0
        reward = -float(np.sum(np.square(action))) + self.elapsed
        return self.observation_space.sample(), reward, ends and not is_limit, ends and is_limit, {}


def envs(
    n_envs: int, action_space: spaces.Space[Any] = BOUNDED, space: spaces.Space[Any] = VECTOR
) -> DummyVecEnv:
    """``n_envs`` environments with different observations."""

    def maker(seed: int) -> Callable[[], gym.Env[Any, Any]]:
        return lambda: Episodes(seed, copy.deepcopy(space), copy.deepcopy(action_space))

    return DummyVecEnv([maker(seed) for seed in range(n_envs)])


def plain(env: Any, policy: str = "MlpPolicy", n_updates: int = 40, **options: Any) -> TDAC:
    """Train without an interruption."""
    model = TDAC(policy, env, seed=1, device="cpu", **options)
    assert model.n_steps is not None
    return model.learn(n_updates * model.n_steps * model.n_envs)


def resumed(fast_path: bool) -> TDAC:
    """Train one half, save, load, and go on with other environments."""
    model = TDAC("MlpPolicy", envs(2), seed=1, device="cpu", fast_path=fast_path)
    model.learn(1280, callback=lambda now, _: now["self"].num_timesteps < 640)
    model.save(file := io.BytesIO())
    file.seek(0)
    return TDAC.load(file, env=envs(2), device="cpu").resume()


def normalized(fast_path: bool) -> TDAC:
    """Train behind a ``VecNormalize``."""
    env = VecNormalize(envs(8), gamma=0.9)
    return plain(env, fast_path=fast_path, normalize_observation=False, normalize_reward=False)


SMALL = dict(net_arch=[16], activation_fn=nn.Tanh)
RMSPROP = dict(net_arch=[16], optimizer_class=torch.optim.RMSprop, ortho_init=False)
TRAININGS: dict[str, Callable[[], TDAC]] = {
    "defaults, 1 environment, kernels": lambda: plain(envs(1)),
    "defaults, 1 environment, autograd": lambda: plain(envs(1), fast_path=False),
    "defaults, 8 environments, kernels": lambda: plain(envs(8)),
    "defaults, 8 environments, autograd": lambda: plain(envs(8), fast_path=False),
    "textbook": lambda: plain(envs(2), n_steps=4, **TEXTBOOK),
    "residual gradient, mean, kernels": lambda: plain(
        envs(2),
        n_steps=16,
        critic_gradient="residual",
        loss_reduction="mean",
        scale_advantage=True,
        gamma=0.9,
        policy_kwargs=SMALL | dict(std_bounds=(0.1, 1.0), std_init=0.3),
    ),
    "critic last in one pass, autograd": lambda: plain(
        envs(2),
        fast_path=False,
        critic_first=False,
        critic_steps=1,
        normalize_advantage=True,
        ent_coef=0.03,
        max_grad_norm=None,
        policy_kwargs=RMSPROP,
    ),
    "critic last, three steps, kernels": lambda: plain(
        envs(2),
        critic_first=False,
        critic_steps=3,
        discount_states=True,
        actor_warmup=0.0,
        learning_rate=1e-3,
        critic_learning_rate=None,
        policy_kwargs=RMSPROP | dict(critic_optimizer_class=torch.optim.SGD),
    ),
    "critic last, three steps, autograd": lambda: plain(
        envs(2),
        fast_path=False,
        critic_first=False,
        critic_steps=3,
        discount_states=True,
        critic_learning_rate=lambda progress: 1e-3 * progress,
        policy_kwargs=dict(share_features_extractor=True, scale_actions=False),
    ),
    "Discrete, kernels": lambda: plain(envs(8, spaces.Discrete(3)), normalize_reward=False),
    "Discrete, autograd": lambda: plain(envs(1, spaces.Discrete(3)), fast_path=False, n_steps=8),
    "MultiDiscrete": lambda: plain(envs(2, spaces.MultiDiscrete([3, 2]))),
    "Dict": lambda: plain(envs(2, space=DICT), "MultiInputPolicy", normalize_observation=False),
    "images": lambda: plain(envs(2, space=IMAGE), "CnnPolicy", n_updates=8),
    "resumed in the middle": lambda: resumed(fast_path=True),
    "VecNormalize": lambda: normalized(fast_path=False),
}


def numbers(tree: Any, path: str) -> dict[str, np.ndarray]:
    """Tensors and numbers of nested dicts and lists, by their path."""
    if isinstance(tree, dict | list | tuple):
        items = tree.items() if isinstance(tree, dict) else enumerate(tree)
        return {k: v for key, part in items for k, v in numbers(part, f"{path}/{key}").items()}
    is_number = isinstance(tree, torch.Tensor | int | float | bool)
    return {path: torch.as_tensor(tree).cpu().numpy()} if is_number else {}


def record(path: str) -> None:
    """Run all trainings and write what they end with.

    :param path: file to write
    """
    torch.set_num_threads(1)
    found: dict[str, np.ndarray] = {}
    for name, train in TRAININGS.items():
        found |= numbers(train().get_parameters(), name)
        print(name, flush=True)
    np.savez(path, **{key.replace("/", "|"): value for key, value in found.items()})


def compare(old: str, new: str) -> None:
    """Print, for each training, whether every number is the same.

    :param old: file of the one version
    :param new: file of the other
    :raises SystemExit: if a number differs
    """
    files = [np.load(path) for path in (old, new)]
    differing = set()
    for name in TRAININGS:
        keys = [{key for key in file if key.startswith(f"{name}|")} for file in files]
        pairs = [(files[0][key], files[1][key]) for key in keys[0] & keys[1]]
        distances = [float(np.abs(a - 1.0 * b).max(initial=0.0)) for a, b in pairs]
        same = keys[0] == keys[1] and all(np.array_equal(a, b) for a, b in pairs)
        result = "the same" if same else f"DIFFERENT by up to {max(distances):g}"
        print(f"{name}: {len(pairs)} arrays, {result}")
        differing |= set() if same else {name}
    if differing:
        raise SystemExit(f"{len(differing)} of {len(TRAININGS)} trainings differ")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("record").add_argument("file")
    comparison = commands.add_parser("compare")
    comparison.add_argument("old")
    comparison.add_argument("new")
    args = parser.parse_args()
    if args.command == "record":
        record(args.file)
    else:
        compare(args.old, args.new)


if __name__ == "__main__":
    main()
