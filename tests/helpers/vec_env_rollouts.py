"""An environment with every kind of end, and rollouts of a ``VecEnv`` to compare."""

from copy import deepcopy
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium import spaces
from stable_baselines3.common.vec_env import VecEnv

SPACES: dict[str, spaces.Space[Any]] = {
    "float32": spaces.Box(-9, 9, (2,), np.float32),
    "float64": spaces.Box(-9, 9, (2,), np.float64),
    "image": spaces.Box(0, 255, (36, 36, 3), np.uint8),
    "discrete": spaces.Discrete(7),
    "multidiscrete": spaces.MultiDiscrete([7, 3]),
    "multibinary": spaces.MultiBinary(5),
    "dict": spaces.Dict(
        {"position": spaces.Box(-9, 9, (2,), np.float32), "room": spaces.Discrete(3)}
    ),
}


class Walk(gym.Env[Any, Any]):
    """A random walk that terminates beyond 1 and is truncated after 6 steps.

    :param kind: name of the observation space
    :param reuse: return the same array and the same info each time, changed in place
    """

    metadata = {"render_modes": ["rgb_array"], "render_fps": 5}  # noqa: RUF012

    def __init__(self, kind: str = "float32", reuse: bool = False, render_mode: str | None = None):
        self.observation_space = SPACES[kind]
        self.observation_space.seed(0)
        self.action_space = spaces.Box(-1.0, 1.0, (1,), np.float32)
        self.render_mode = render_mode
        self.kind, self.reuse = kind, reuse
        self.array, self.info = np.zeros(2, np.float32), {}
        self.gain = 1.0

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> Any:
        super().reset(seed=seed)
        self.x = (options or {}).get("x", self.np_random.uniform(-0.1, 0.1))
        self.elapsed, self.path = 0, np.zeros(3)
        return self._observation(), {"start": self.x, "options": options or None}

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        self.x += self.gain * (0.3 * float(action[0]) + 0.2 * self.np_random.normal())
        self.elapsed += 1
        self.path[self.elapsed % 3] = self.x
        info = {"x": self.x, "path": self.path, "nested": {"elapsed": self.elapsed}, "word": "a"}
        if self.elapsed == 3:
            info["rare"] = True
        if self.reuse:
            self.info.update(info)
            info = self.info
        return self._observation(), self.x**3, abs(self.x) > 1, self.elapsed == 6, info

    def render(self) -> np.ndarray:
        return np.full((4, 4, 3), abs(int(100 * self.x)) % 256, np.uint8)

    def double(self, number: float) -> float:
        return 2 * number

    def _observation(self) -> Any:
        space = self.observation_space
        if self.kind == "dict":
            return {"position": self._pair().copy(), "room": int(self.elapsed % 3)}
        if isinstance(space, spaces.Box) and space.shape == (2,):
            return self._pair() if self.reuse else self._pair().astype(space.dtype)
        space.seed(int(1000 * (9 + self.x)))  # a sample that depends on the state alone
        return space.sample()

    def _pair(self) -> np.ndarray:
        self.array[:] = self.x, self.elapsed
        return self.array


def random_actions(env: VecEnv, n_steps: int, seed: int = 0) -> list[np.ndarray]:
    space = deepcopy(env.action_space)
    space.seed(seed)
    return [np.array([space.sample() for _ in range(env.num_envs)]) for _ in range(n_steps)]


def rollout(env: VecEnv, n_steps: int, keep: bool = False) -> list[Any]:
    """The results of ``reset``, each step and a second ``reset``, with the seeds 3, 4, ...

    :param env: environment
    :param n_steps: steps
    :param keep: return the results themselves, not copies made at each step
    """
    own = (lambda returned: returned) if keep else deepcopy
    env.seed(3)
    steps = [own((env.reset(), list(env.unwrapped.reset_infos)))]
    for actions in random_actions(env, n_steps):
        obs, rewards, dones, infos = env.step(actions)
        for info in infos:
            info.get("episode", {}).pop("t", None)  # seconds
        steps.append(own((obs, rewards, dones, infos, list(env.unwrapped.reset_infos))))
    return [*steps, own((env.reset(), list(env.unwrapped.reset_infos)))]


def assert_same(steps: list[Any], expected: list[Any]) -> None:
    """Compare every number, key and dtype of two rollouts."""
    for step, reference in zip(steps, expected, strict=True):
        np.testing.assert_equal(step, reference)
        for array, other in zip(_arrays(step), _arrays(reference), strict=True):
            assert array.dtype == other.dtype and array.shape == other.shape


def ends(steps: list[Any]) -> list[tuple[bool, bool]]:
    """For each episode: whether it is truncated, and whether it has the length of the limit."""
    return [
        (info["TimeLimit.truncated"], info["episode"]["l"] == 6)
        for step in steps[1:-1]
        for info, done in zip(step[3], step[2], strict=True)
        if done
    ]


def _arrays(step: Any) -> list[np.ndarray]:
    obs = step[0]
    return [
        *(obs.values() if isinstance(obs, dict) else [obs]),
        *step[1 : 3 if len(step) > 2 else 1],
    ]
