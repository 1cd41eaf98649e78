"""Checks of the observations, rewards and flags that environments return."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from gymnasium import spaces

from sb3_tdac.aliases import Array, Space

#: Largest size of an observation or reward: sums of its square stay finite in float32.
LARGEST = 1e15


def is_number(value: Any) -> bool:
    """Whether an array of numbers can hold a value.

    :param value: reward or flag of one environment
    """
    try:
        return np.ndim(value) == 0 and isinstance(float(value), float)
    except (TypeError, ValueError, OverflowError):
        return False


def is_flag(value: object) -> bool:
    """Whether a value is true or false, also as text: NumPy turns a mixed list into text.

    :param value: flag of one environment
    """
    return str(value) in ("False", "True", "0", "1", "0.0", "1.0")


def bad_step(rewards: Any, dones: Any, infos: Any, n_envs: int) -> tuple[int, str] | None:
    """Find the first reward, flag or info that is missing or of another type.

    :param rewards: what a ``VecEnv`` returned
    :param dones: likewise
    :param infos: likewise
    :param n_envs: number of environments
    :return: environment, -1 if all, and fault; ``None``: there is none
    """
    for name, rows, kind, is_kind in (
        ("rewards", rewards, "number", is_number),
        ("dones", dones, "flag", is_flag),
        ("infos", infos, "dict", lambda info: isinstance(info, dict)),
    ):
        wanted = f"{name} must be one {kind} for each environment, got "
        if np.shape(rows) != (n_envs,):
            return -1, f"{wanted}{np.shape(rows) or type(rows).__name__}"
        for env, row in enumerate(rows):
            if not is_kind(row):
                return env, f"{wanted}{row!r}"
    return None


def bad_rewards(rewards: Array) -> list[int]:
    """Find rewards that are not finite, or too large.

    :param rewards: (B,)
    :return: their indices
    """
    if np.vdot(rewards, rewards) <= LARGEST**2:  # then no term is larger
        return []
    bad: list[int] = np.flatnonzero(~(np.abs(rewards) <= LARGEST)).tolist()
    return bad


def bad_observation(obs: Any, space: Space, n_envs: int) -> tuple[int, str] | None:
    """Find the first observation that no network can learn from.

    Bounds of a ``Box`` do not count. Bounds of a discrete space do: a network has no other input.

    :param obs: n_envs observations
    :param space: space of one of them
    :param n_envs: number of environments
    :return: environment and fault; ``None``: there is none
    """
    if not isinstance(space, spaces.Dict):
        return _bad_rows("observation", obs, space, n_envs)
    for key, leaf in space.spaces.items():
        if not isinstance(obs, dict) or key not in obs:
            return 0, f"observation has no key {key!r}"
        bad = _bad_rows(f"observation {key!r}", obs[key], leaf, n_envs)
        if bad is not None:
            return bad
    return None


def fault_of(obs: object, space: Space) -> str | None:
    """Say why no network can learn from one observation.

    :param obs: observation
    :param space: its space
    :return: fault; ``None``: there is none
    """
    one = {k: _batch(v) for k, v in obs.items()} if isinstance(obs, Mapping) else _batch(obs)
    bad = bad_observation(one, space, 1)
    return None if bad is None else bad[1]


def _batch(obs: object) -> object:
    """A batch of one; a ragged list stays as it is, because no array can hold it."""
    try:
        return np.array([obs])
    except ValueError:
        return obs


def _bad_rows(name: str, rows: object, space: Space, n_envs: int) -> tuple[int, str] | None:
    shape = (n_envs, *space.shape) if space.shape else (n_envs,)
    if not isinstance(rows, np.ndarray) or rows.shape != shape or rows.dtype.kind not in "biuf":
        return _not_numbers(name, rows, shape)
    if isinstance(space, spaces.Box):
        if rows.dtype.kind == "f":  # if the sum of squares is within the limit, every number is
            surely_fine = bool(np.vdot(rows, rows) <= LARGEST**2)
        else:
            surely_fine = rows.dtype.itemsize <= 4
        if surely_fine:
            return None
    low, high = _limits(space)
    bad = np.argwhere(~((rows >= low) & (rows <= high)))
    return (int(bad[0][0]), name + why(rows[tuple(bad[0])], space)) if len(bad) else None


def _not_numbers(name: str, rows: object, shape: tuple[int, ...]) -> tuple[int, str]:
    if not isinstance(rows, np.ndarray):
        env, given = 0, type(rows).__name__
    elif rows.shape != shape:
        env, given = 0, str(rows.shape[1:])
        if rows.shape[:1] != shape[:1]:
            given = f"an array {rows.shape} for {shape[0]} environments"
    else:
        odd = (env for env, row in enumerate(rows) if not _are_finite(row))
        env, given = next(odd, 0), str(rows.dtype)
    return env, f"{name} must have shape {shape[1:]} and be of numbers, got {given}"


def _are_finite(row: object) -> bool:
    try:
        return bool(np.isfinite(np.array(np.asarray(row).tolist(), np.float64)).all())
    except (TypeError, ValueError):
        return False


def _limits(space: Space) -> tuple[Any, Any]:
    if isinstance(space, spaces.Discrete):
        return 0, space.n - 1
    if isinstance(space, spaces.MultiDiscrete):
        return 0, space.nvec - 1
    if isinstance(space, spaces.MultiBinary):
        return 0, 1
    return -LARGEST, LARGEST


def why(number: Any, space: Space | None = None) -> str:
    """Describe the fault of a number.

    :param number: one number of an observation, or a reward
    :param space: space that it should be in
    """
    if not np.isfinite(number):
        return f" is not finite ({number:g})"
    if space is None or isinstance(space, spaces.Box):
        return f" is too large ({number:g}; the limit is {LARGEST:g})"
    return f" is not in {space} ({number})"
