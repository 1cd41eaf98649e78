"""EnvPool's environments in C++ for any algorithm of SB3: ``pip install "sb3_tdac[envpool]"``."""

import warnings
from typing import Any

import numpy as np
from gymnasium.vector import AutoresetMode, VectorEnv, VectorWrapper
from gymnasium.wrappers.vector import DictInfoToList
from stable_baselines3.common.vec_env.base_vec_env import VecEnvObs

from sb3_tdac.vec_envs.copies import Array, Flags, Info, Obs
from sb3_tdac.vec_envs.gymnasium import GymnasiumVecEnv

BOOKKEEPING = ("env_id", "players", "elapsed_step")  # EnvPool adds them to each info
NO_LIMIT = 2**31 - 1


class MaskedPool(VectorWrapper):  # in gymnasium 1.1 it is not generic
    """An EnvPool that resets some environments on request, as gymnasium's ``DISABLED`` mode does.

    EnvPool alone resets in the step after the end of an episode. It also reports every end at the
    time limit as a truncation; so EnvPool's limit is one step later, and this class counts steps.

    :param pool: environment of ``envpool.make``
    :param time_limit: in steps; ``None``: EnvPool has the limit
    """

    def __init__(self, pool: VectorEnv[Any, Any, Any], time_limit: int | None):
        super().__init__(pool)
        self.time_limit = time_limit
        self.metadata = {**pool.metadata, "autoreset_mode": AutoresetMode.DISABLED}
        self._obs: Obs = {}

    def step(self, actions: Array) -> tuple[Obs, Array, Flags, Flags, Info]:
        """Step all environments."""
        self._obs, rewards, terminated, truncated, infos = self.env.step(actions)
        if self.time_limit is not None:
            truncated = infos["elapsed_step"] >= self.time_limit
        infos = {key: value for key, value in infos.items() if key not in BOOKKEEPING}
        return self._obs, rewards, terminated, truncated, infos

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Obs, Info]:
        """Reset all environments, or only those in ``options["reset_mask"]``.

        :param seed: not used: EnvPool takes its seeds when it is built
        :param options: ``reset_mask`` (n_envs,); ``None``: reset all
        :return: observations of all environments, and infos of the reset ones
        """
        obs, infos = self.env.reset(options=options)
        infos = {key: value for key, value in infos.items() if key not in BOOKKEEPING}
        if options is not None:
            mask = options["reset_mask"]
            obs = _filled(mask, obs, self._obs)
            for key, rows in list(infos.items()):
                infos[key] = _filled(mask, rows, np.zeros((len(mask), *rows.shape[1:]), rows.dtype))
                infos[f"_{key}"] = mask
        self._obs = obs
        return obs, infos

    def render(self) -> tuple[Any, ...] | None:
        """One frame of each environment, or None without a ``render_mode``."""
        if self.render_mode is None:
            return None
        pool: Any = self.env
        return tuple(pool.render(env_ids=np.arange(self.num_envs)))


class EnvPoolVecEnv(GymnasiumVecEnv):
    """An EnvPool as a ``VecEnv`` of SB3: no fake transition after an episode, exact time limits.

    Environment i gets ``seed + i``. EnvPool takes seeds when it is built, so the ``reset`` after
    ``seed`` builds it again. With ``episodic_life=True`` EnvPool has the time limit.

    :param task_id: id of EnvPool, e.g. ``"CartPole-v1"`` or ``"Pong-v5"``
    :param n_envs: number of environments
    :param seed: of the first environment; ``None``: a random one
    :param kwargs: arguments of ``envpool.make``, e.g. ``num_threads=8`` or ``max_episode_steps``
    :raises ImportError: if EnvPool is not installed
    :raises ValueError: if ``batch_size`` is not ``n_envs``
    """

    def __init__(self, task_id: str, n_envs: int = 1, seed: int | None = None, **kwargs: Any):
        if kwargs.get("batch_size", n_envs) != n_envs:
            raise ValueError(
                f"batch_size must be n_envs = {n_envs}, got {kwargs['batch_size']}: leave it out"
            )
        self.task_id = task_id
        self._kwargs = {**kwargs, "num_envs": n_envs}
        first = int(np.random.randint(NO_LIMIT)) if seed is None else seed
        super().__init__(self._build([first + i for i in range(n_envs)]))

    def _build(self, seeds: list[int]) -> MaskedPool:
        try:
            import envpool
        except ImportError as error:
            raise ImportError(
                "EnvPoolVecEnv needs EnvPool and Python 3.11 or newer: "
                'pip install "sb3_tdac[envpool]"'
            ) from error
        with warnings.catch_warnings():  # about float64 bounds of float32 spaces
            warnings.filterwarnings("ignore", message=".*precision lowered by casting")
            kwargs = {**self._kwargs, "seed": [seed % NO_LIMIT for seed in seeds]}
            config = envpool.make_spec(self.task_id, **kwargs).config
            time_limit = None
            if not getattr(config, "episodic_life", False) and config.max_episode_steps < NO_LIMIT:
                time_limit = config.max_episode_steps
                kwargs["max_episode_steps"] = time_limit + 1
            pool = MaskedPool(envpool.make(self.task_id, "gymnasium", **kwargs), time_limit)
            pool.observation_space, pool.action_space  # noqa: B018  # EnvPool builds them now
        return pool

    def reset(self) -> VecEnvObs:
        """Reset all environments; build them again after a call of ``seed``.

        :return: first observations
        """
        seeds = [seed for seed in self._seeds if seed is not None]
        if seeds:
            self.env.close()
            self.env = DictInfoToList(self._build(seeds))
        return super().reset()


def _filled(mask: Flags, rows: Any, all_rows: Any) -> Any:
    """Copy of ``all_rows`` with ``rows`` where ``mask`` is True; arrays or dicts of arrays."""
    if isinstance(rows, dict):
        return {key: _filled(mask, rows[key], all_rows[key]) for key in rows}
    filled = all_rows.copy()
    filled[mask] = rows
    return filled
