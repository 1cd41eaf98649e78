"""The transitions of one rollout, and which successor states ended an episode."""

from typing import Any, NamedTuple

import numpy as np
import torch
from gymnasium import spaces
from stable_baselines3.common.preprocessing import get_action_dim, get_obs_shape
from stable_baselines3.common.type_aliases import PyTorchObs
from stable_baselines3.common.utils import obs_as_tensor
from torch import Tensor

from sb3_tdac.aliases import Array, Info, NumpyObs, Space


class Transitions(NamedTuple):
    """A batch of B = n_steps * n_envs transitions (x, u, r, x', terminated) as tensors.

    States are stored once: ``states[:B]`` are the x, ``states[successor]`` the x'.

    :param states: (B + n_envs + number of time limits, *observation shape), or a dict of these
    :param successor: (B,) row of x' in ``states``; has no meaning where ``terminated``
    :param action: (B, A), or (B,) if ``Discrete``, the action as sampled
    :param reward: (B,)
    :param terminated: (B,) bool
    :param elapsed_steps: (B,) steps since the start of the episode, the t of (4.6)
    """

    states: PyTorchObs
    successor: Tensor
    action: Tensor
    reward: Tensor
    terminated: Tensor
    elapsed_steps: Tensor

    @property
    def state(self) -> PyTorchObs:
        """The B states x."""
        n_rows = len(self.reward)
        if isinstance(self.states, dict):
            return {key: rows[:n_rows] for key, rows in self.states.items()}
        return self.states[:n_rows]


class TransitionRows(NamedTuple):
    """The same batch as NumPy arrays, which may share the memory of a buffer."""

    states: NumpyObs
    successor: Array
    action: Array
    reward: Array
    terminated: Array
    elapsed_steps: Array

    def to(self, device: torch.device) -> Transitions:
        """The batch as tensors.

        :param device: device of the tensors
        """
        columns = (torch.as_tensor(column, device=device) for column in self[1:])
        return Transitions(obs_as_tensor(self.states, device), *columns)


class TransitionBuffer:
    """``n_steps`` transitions from each of ``n_envs`` environments.

    Row (t, e) of the observations is the state of environment e before step t; its successor is row
    (t + 1, e), unless the episode ended there and that row is a reset observation. A terminal state
    needs no value. A time limit adds its ``terminal_observation`` as a row of its own.

    :param n_steps: steps of each environment
    :param n_envs: number of environments
    :param observation_space: space of one observation
    :param action_space: space of one action
    """

    def __init__(
        self,
        n_steps: int,
        n_envs: int,
        observation_space: Space,
        action_space: Space,
    ):
        self.n_steps, self.n_envs, self._shape = n_steps, n_envs, (n_envs,)
        self.observations = _allocate((n_steps + 1, n_envs), observation_space)
        self.actions = _allocate_actions((n_steps, n_envs), action_space)
        self.rewards = np.zeros((n_steps, n_envs), np.float32)
        self.terminated = np.zeros((n_steps, n_envs), bool)
        self.elapsed_steps = np.zeros((n_steps, n_envs), np.int64)
        self.reset()

    def reset(self) -> None:
        """Forget the rollout."""
        self.step = 0
        self.time_limits: list[tuple[int, NumpyObs]] = []

    def add(
        self,
        obs: NumpyObs,
        actions: Array,
        rewards: Array,
        dones: Array,
        infos: list[Info],
        elapsed_steps: Array,
    ) -> None:
        """Store one step of every environment.

        :param obs: (n_envs, *observation shape) x, before the step
        :param actions: (n_envs, *action shape) u, as sampled
        :param rewards: (n_envs,) r
        :param dones: (n_envs,) the episode ended, for either reason
        :param infos: one for each environment; ``TimeLimit.truncated`` tells the reason
        :param elapsed_steps: (n_envs,) steps since the start of the episode, the t of (4.6)
        :raises ValueError: if there is not one reward and one flag for each environment, or a time
            limit comes without ``terminal_observation``
        """
        rewards, dones = np.asarray(rewards), np.asarray(dones)
        if not rewards.shape == dones.shape == self._shape:  # numpy would repeat a single one
            raise ValueError(
                f"rewards and dones must have shape {self._shape}, got {rewards.shape} and "
                f"{dones.shape}"
            )
        _store(self.observations, self.step, obs)
        self.actions[self.step] = actions.reshape(self.actions.shape[1:])
        self.rewards[self.step] = rewards
        self.terminated[self.step] = dones if dones.dtype.kind == "b" else _flags(dones)
        self.elapsed_steps[self.step] = elapsed_steps
        for env in np.flatnonzero(dones) if np.count_nonzero(dones) else ():
            if infos[env].get("TimeLimit.truncated", False):
                if infos[env].get("terminal_observation") is None:
                    raise ValueError(
                        f"infos[{env}] has TimeLimit.truncated but no terminal_observation, in "
                        f"environment {env} at step {elapsed_steps[env] + 1} of its episode: the "
                        "VecEnv must add it, because the value of the state it was cut in is needed"
                    )
                self.terminated[self.step, env] = False
                transition = self.step * self.n_envs + int(env)
                self.time_limits.append((transition, infos[env]["terminal_observation"]))
        self.step += 1

    def finish(self, obs: NumpyObs) -> None:
        """Store the observation after the last step.

        :param obs: (n_envs, *observation shape)
        """
        _store(self.observations, self.step, obs)

    def rows(self) -> TransitionRows:
        """The rollout as one batch of arrays: all environments of the first step, then the next.

        The next rollout writes into the same arrays.

        :return: B = n_steps * n_envs transitions
        """
        batch_size = self.n_steps * self.n_envs
        successor = np.arange(self.n_envs, batch_size + self.n_envs)
        for row, (transition, _) in enumerate(self.time_limits):
            successor[transition] = batch_size + self.n_envs + row
        return TransitionRows(
            states=self._states(),
            successor=successor,
            action=self.actions.reshape(batch_size, *self.actions.shape[2:]),
            reward=self.rewards.reshape(-1),
            terminated=self.terminated.reshape(-1),
            elapsed_steps=self.elapsed_steps.reshape(-1),
        )

    def _states(self) -> NumpyObs:
        """All states of the rollout in rows, those of the time limits last."""
        last = [observation for _, observation in self.time_limits]
        if isinstance(self.observations, dict):
            return {
                key: _rows(stored, [np.asarray(obs[key]) for obs in last])
                for key, stored in self.observations.items()
            }
        return _rows(self.observations, [np.asarray(obs) for obs in last])


def _flags(dones: Array) -> Array:
    """Refuse numbers other than 0 and 1, which NumPy would convert to True."""
    if not np.isin(dones, (0, 1)).all():
        raise ValueError(f"dones must be flags, got {dones}")
    return dones


def _allocate_actions(shape: tuple[int, int], space: Space) -> Array:
    if isinstance(space, spaces.Discrete):
        return np.zeros(shape, np.int64)
    dtype = np.int64 if isinstance(space, spaces.MultiDiscrete) else np.float32
    return np.zeros((*shape, get_action_dim(space)), dtype)


def _allocate(shape: tuple[int, int], space: Space) -> NumpyObs:
    if isinstance(space, spaces.Dict):
        return {key: _zeros(shape, leaf) for key, leaf in space.spaces.items()}
    return _zeros(shape, space)


def _zeros(shape: tuple[int, int], space: Space) -> Array:
    return np.zeros((*shape, *get_obs_shape(space)), space.dtype)


def _store(observations: NumpyObs, step: int, obs: Any) -> None:
    if isinstance(observations, dict):
        for key, stored in observations.items():
            stored[step] = np.reshape(obs[key], stored[step].shape)
    else:
        observations[step] = np.reshape(obs, observations[step].shape)


def _rows(stored: Array, last: list[Array]) -> Array:
    rows = stored.reshape(-1, *stored.shape[2:])
    if not last:
        return rows
    return np.concatenate([rows, np.reshape(last, (len(last), *rows.shape[1:]))])
