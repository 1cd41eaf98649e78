"""Checks everything that environments return in a rollout, before anything learns from it."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, NoReturn

import numpy as np
from stable_baselines3.common.vec_env import VecEnv, unwrap_vec_normalize

from sb3_tdac.aliases import Array, Info, NumpyObs, Space
from sb3_tdac.diagnostics.environment_errors import explain
from sb3_tdac.diagnostics.location import Location
from sb3_tdac.diagnostics.numbers import bad_observation, bad_rewards, bad_step, fault_of, why
from sb3_tdac.diagnostics.vec_normalize import RawValues
from sb3_tdac.transitions import TransitionBuffer


class RolloutWatch:
    """Steps environments, and raises errors that name environment and step.

    After a fault, a ``VecNormalize`` has the statistics that it had when the watch was made.

    :param env: environments
    :param space: space of one observation
    :param locate: returns the moment of the training; called only for a message
    """

    def __init__(self, env: VecEnv, space: Space, locate: Callable[[], Location]):
        self.env, self._space, self._locate = env, space, locate
        self._shape, normalizer = (env.num_envs,), unwrap_vec_normalize(env)
        self._raw = RawValues(normalizer) if normalizer is not None else None

    @contextmanager
    def resetting(self) -> Iterator[None]:
        """Name environment and step if the code inside, which resets the environments, raises."""
        try:
            yield
        except Exception as error:
            explain(error, self.env, self._locate(), is_reset=True)

    def check_first(self, obs: NumpyObs, is_reset: bool) -> None:
        """Check the observation that a training starts from.

        :param obs: one observation of each environment
        :param is_reset: it is new, from a reset
        :raises ValueError: naming environment and step
        """
        bad = self._raw.bad_observation() if self._raw and is_reset else None
        bad = bad or bad_observation(obs, self._space, self.env.num_envs)
        if bad is not None:
            self._stop(bad[1], self._locate().last_observation(bad[0]))

    def step(self, actions: Array) -> tuple[NumpyObs, Array, Array, list[Info]]:
        """Step the environments, and check what they return.

        Rewards are checked by ``check_rollout``, raw ones below a ``VecNormalize`` now.

        :param actions: (n_envs, *action shape), in the units of the environments
        :return: observations, rewards, dones, infos
        :raises ValueError: naming environment and step
        :raises RuntimeError: if the process of an environment died
        """
        obs: Any
        try:
            obs, rewards, dones, infos = self.env.step(actions)
        except Exception as error:
            explain(error, self.env, self._locate())
        if self._raw is not None:
            self._check(self._raw.bad_observation(), dones)
            self._check(self._raw.bad_reward())
        if not self._has_usual_types(rewards, dones, infos):
            self._check(bad_step(rewards, dones, infos, self.env.num_envs))
        bad = bad_observation(obs, self._space, self.env.num_envs)
        if bad is not None:
            self._check(bad, dones)
        return obs, rewards, dones, infos

    def _has_usual_types(self, rewards: object, dones: object, infos: Any) -> bool:
        """Whether the types are right, so that no single value needs a check."""
        return (
            isinstance(rewards, np.ndarray)
            and isinstance(dones, np.ndarray)
            and rewards.shape == dones.shape == self._shape
            and rewards.dtype.kind == "f"
            and dones.dtype.kind == "b"
            and isinstance(infos, list | tuple)
            and len(infos) == len(rewards)
            and {*map(type, infos)} == {dict}
        )

    def check_rollout(self, buffer: TransitionBuffer) -> None:
        """Check the rewards of a rollout, and the observations that time limits cut.

        :param buffer: whole rollout
        :raises ValueError: naming environment and step
        """
        rewards = buffer.rewards.reshape(-1)
        for row in bad_rewards(rewards):
            self._stop("reward" + why(rewards[row]), self._locate().transition(row))
        for row, obs in buffer.time_limits:
            fault = fault_of(obs, self._space)
            if fault is not None:
                self._stop(f"terminal_{fault}", self._locate().transition(row))

    def _check(self, bad: tuple[int, str] | None, dones: Array | None = None) -> None:
        """Raise for a fault of the last step, which is not counted yet.

        :param bad: environment, -1 if all, and fault
        :param dones: given for an observation, which may come from a reset
        """
        if bad is None:
            return
        (env, fault), location = bad, self._locate()
        if dones is not None and dones[env]:
            self._stop(fault, location.at(env, 0, steps_ago=-1))
        self._stop(fault, location.next_step(env) if env >= 0 else location.whole_step())

    def _stop(self, fault: str, where: str) -> NoReturn:
        if self._raw is not None:
            self._raw.restore()
        raise ValueError(
            f"{fault} in {where}: fix the environment (a None in an observation becomes NaN), or "
            f"clip or skip such steps there. {self._locate().model_state}"
        )
