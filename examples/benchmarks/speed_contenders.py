"""Settings of the speed benchmark, and the contenders that run in each."""

import os
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import gymnasium as gym
import numpy as np
from stable_baselines3 import A2C, PPO
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.env_util import make_vec_env
from stable_baselines3.common.logger import Logger
from stable_baselines3.common.vec_env import DummyVecEnv, VecEnv

from sb3_tdac import TDAC, TEXTBOOK
from sb3_tdac.vec_envs import GymnasiumVecEnv, LeanDummyVecEnv

#: So small that no policy changes: all contenders step the environments alike until the end.
LEARNING_RATE = 1e-9
#: Environment steps in a rollout of PPO, its default with one environment.
PPO_ROLLOUT = 2048
RANDOM_ACTIONS = 1_000


@dataclass(frozen=True)
class Setting:
    """One environment, its ``VecEnv``, and the sizes of training."""

    env_id: str
    n_envs: int
    n_steps: int
    vec_env: str = "DummyVecEnv"
    width: int = 64

    def __str__(self) -> str:
        form = "" if self.vec_env == "DummyVecEnv" else f" {self.vec_env}"
        return f"{self.env_id} {self.n_envs}x{self.n_steps}{form}"


@dataclass
class Contender:
    """``run(steps)`` does that many vectorised steps, a multiple of ``rollout``."""

    run: Callable[[int], object]
    rollout: int = 1


SETTINGS = [
    Setting("Pendulum-v1", 1, 5),
    Setting("Pendulum-v1", 8, 5),
    Setting("Pendulum-v1", 64, 5),
    Setting("HalfCheetah-v5", 1, 5),
    Setting("HalfCheetah-v5", 8, 5),
    Setting("CartPole-v1", 1, 5),
    Setting("Hopper-v5", 1, 1),
    Setting("CartPole-v1", 64, 5, "GymnasiumVecEnv"),
    Setting("Pendulum-v1", 1, 5, "LeanDummyVecEnv"),
]


def make_env(setting: Setting) -> VecEnv:
    """The environments of a setting in its ``VecEnv``."""
    if setting.vec_env == "GymnasiumVecEnv":
        return GymnasiumVecEnv.make(setting.env_id, setting.n_envs, seed=0)
    vec_env_cls = {"DummyVecEnv": DummyVecEnv, "LeanDummyVecEnv": LeanDummyVecEnv}[setting.vec_env]
    return make_vec_env(setting.env_id, setting.n_envs, seed=0, vec_env_cls=vec_env_cls)


def model(
    algorithm: type[BaseAlgorithm],
    setting: Setting,
    policy_kwargs: dict[str, Any] | None = None,
    **options: Any,
) -> Contender:
    """A model on its own environments; its ``run`` is a whole ``learn()``."""
    built = algorithm(
        "MlpPolicy",
        make_env(setting),
        n_steps=setting.n_steps,
        seed=0,
        device="cpu",
        policy_kwargs=dict(net_arch=[setting.width] * 2) | (policy_kwargs or {}),
        **options,
    )
    built.set_logger(Logger(None, []))  # SB3's default makes a folder for each learn()
    return Contender(lambda steps: built.learn(steps * setting.n_envs), setting.n_steps)


def a2c(setting: Setting, **options: Any) -> Contender:
    return model(A2C, setting, learning_rate=LEARNING_RATE, **options)


def reference(setting: Setting) -> Contender:
    """SB3's A2C on ``DummyVecEnv`` in every setting."""
    return a2c(replace(setting, vec_env="DummyVecEnv"))


def tdac(setting: Setting, **options: Any) -> Contender:
    policy_kwargs = options.pop("policy_kwargs", {})
    rates = dict(learning_rate=LEARNING_RATE, critic_learning_rate=LEARNING_RATE)
    return model(TDAC, setting, policy_kwargs, **options | rates)


def ppo(algorithm: type[BaseAlgorithm], setting: Setting) -> Contender:
    """PPO with its default batch size and epochs, on rollouts of the same size in all settings."""
    setting = replace(setting, n_steps=PPO_ROLLOUT // setting.n_envs)
    return model(algorithm, setting, learning_rate=LEARNING_RATE)


def sbx_ppo(setting: Setting) -> Contender:
    """:raises ModuleNotFoundError: where SBX is not installed"""
    # JAX uses all cores otherwise, and here one core is compared with one core.
    flags = "--xla_cpu_multi_thread_eigen=false intra_op_parallelism_threads=1"
    os.environ.setdefault("XLA_FLAGS", flags)
    import sbx

    return ppo(sbx.PPO, setting)


def bound(setting: Setting) -> Contender:
    """The same ``VecEnv`` with random actions: the speed if learning cost nothing."""
    env = make_env(setting)
    env.action_space.seed(0)
    actions = np.array(
        [[env.action_space.sample() for _ in range(env.num_envs)] for _ in range(RANDOM_ACTIONS)]
    )

    def run(steps: int) -> None:
        env.reset()
        for step in range(steps):
            env.step(actions[step % RANDOM_ACTIONS])

    return Contender(run)


def bare_environment(setting: Setting) -> Contender:
    """``gym.make`` alone, with as many steps as the ``VecEnv`` does in one vectorised step."""
    env = gym.make(setting.env_id)
    env.action_space.seed(0)
    actions = [env.action_space.sample() for _ in range(RANDOM_ACTIONS)]

    def run(steps: int) -> None:
        env.reset(seed=0)
        for step in range(steps * setting.n_envs):
            _, _, terminated, truncated, _ = env.step(actions[step % RANDOM_ACTIONS])
            if terminated or truncated:
                env.reset()

    return Contender(run)


Factory = Callable[[Setting], Contender]
#: An update as A2C makes it: both gradients from the same parameters, clipped, nothing normalized.
A2C_CHOICES = TEXTBOOK | dict(critic_first=False, max_grad_norm=0.5)
EQUAL_WORK: dict[str, Factory] = {
    "A2C": reference,
    "TDAC fast, equal work": partial(tdac, **A2C_CHOICES | dict(fast_path=True)),
    "TDAC general, equal work": partial(tdac, **A2C_CHOICES),
}
CONTENDERS: dict[str, Factory] = EQUAL_WORK | {
    "TDAC fast, defaults": tdac,
    "TDAC general, defaults": partial(tdac, fast_path=False),
    "A2C, gae_lambda=0": partial(a2c, gae_lambda=0.0),
    "PPO": partial(ppo, PPO),
    "SBX PPO": sbx_ppo,
    "bound": bound,
    "bare environment": bare_environment,
}
#: An additional contender where the setting's VecEnv is not the reference's.
OTHER_VEC_ENV: dict[str, Factory] = {"A2C, same VecEnv": a2c}


def build(setting: Setting, factories: dict[str, Factory]) -> dict[str, Contender]:
    """Build the contenders of a setting; leave out and print any that lacks a module."""
    contenders: dict[str, Contender] = {}
    skipped: dict[str, list[str]] = {}
    for name, factory in factories.items():
        try:
            contenders[name] = factory(setting)
        except (ImportError, gym.error.DependencyNotInstalled) as error:
            skipped.setdefault(str(error), []).append(name)
    for reason, names in skipped.items():
        print(f"{setting}: skipped {', '.join(names)}: {reason}")
    return contenders
