"""Numbers and shapes that break the contract of an environment: of which one, in which step."""

from typing import Any, NoReturn

import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray

from sb3_tdac.diagnostics.location import place, place_of_error, place_of_row, updates_of
from sb3_tdac.transitions import TransitionBuffer

#: Largest size of an observation or reward: sums of its square stay finite in float32.
LARGEST = 1e15


def check_observations(model: Any, obs: Any) -> None:
    """Refuse observations that are not of their space's shape, or have a number beyond 1e15.

    Bounds of a ``Box`` do not count; those of a discrete space do: a network has no place for more.

    :param model: that is training, and saw them last
    :param obs: one observation of each environment
    :raises ValueError: naming environment and step
    """
    bad = bad_observation(obs, model.observation_space, model.n_envs)
    if bad is not None:
        env, fault = bad
        step = 0 if model._last_episode_starts[env] else int(model._elapsed_steps[env]) + 1
        stop_for(model, fault, place(model, env, step))


def check_step(model: Any, rewards: Any, dones: Any, infos: Any) -> None:
    """Refuse a step without one number, one flag and one dict for each environment.

    :param model: that is training
    :param rewards: what a ``VecEnv`` returned
    :param dones: likewise
    :param infos: likewise
    :raises ValueError: naming environment and step
    """
    for name, rows, kind, is_kind in (
        ("rewards", rewards, "number", is_number),
        ("dones", dones, "flag", _is_flag),
        ("infos", infos, "dict", lambda info: isinstance(info, dict)),
    ):
        wanted = f"{name} must be one {kind} for each environment, got "
        if np.shape(rows) != (model.n_envs,):
            given = np.shape(rows) or type(rows).__name__
            stop_for(model, f"{wanted}{given}", place_of_error(model, None))
        for env, row in enumerate(rows):
            if not is_kind(row):
                step = int(model._elapsed_steps[env]) + 1
                stop_for(model, f"{wanted}{row!r}", place(model, env, step))


def is_number(value: Any) -> bool:
    """Whether an array of numbers can hold it.

    :param value: reward or flag of one environment
    """
    try:
        return np.ndim(value) == 0 and isinstance(float(value), float)
    except (TypeError, ValueError, OverflowError):
        return False


def _is_flag(value: Any) -> bool:
    """Also as text: one flag that is text makes text of all."""
    return str(value) in ("False", "True", "0", "1", "0.0", "1.0")


def check_rollout(model: Any, buffer: TransitionBuffer) -> None:
    """The same of rewards and of the observations that time limits cut.

    :param model: that is training
    :param buffer: the whole rollout
    :raises ValueError: naming environment and step
    """
    rewards = buffer.rewards.reshape(-1)
    for bad_row in bad_rewards(rewards):
        stop_for(model, "reward" + why(rewards[bad_row]), place_of_row(model, buffer, bad_row))
    for row, obs in buffer.time_limits:
        fault = fault_of(obs, model.observation_space)
        if fault is not None:
            stop_for(model, f"terminal_{fault}", place_of_row(model, buffer, row))


def fault_of(obs: Any, space: spaces.Space[Any]) -> str | None:
    """Why one observation is none that a network can learn from, if it is not.

    :param obs: observation
    :param space: its space
    """
    one = {k: _batch(v) for k, v in obs.items()} if isinstance(obs, dict) else _batch(obs)
    bad = bad_observation(one, space, 1)
    return None if bad is None else bad[1]


def _batch(obs: Any) -> Any:
    """A batch of one; what is ragged stays as it is, and is no array."""
    try:
        return np.array([obs])
    except ValueError:
        return obs


def bad_rewards(rewards: NDArray[Any]) -> list[int]:
    """Indices of those that are not finite or too large.

    :param rewards: (B,)
    """
    if np.vdot(rewards, rewards) <= LARGEST**2:  # then no term is larger
        return []
    bad: list[int] = np.flatnonzero(~(np.abs(rewards) <= LARGEST)).tolist()
    return bad


def stop_for(model: Any, fault: str, where: str) -> NoReturn:
    """Raise; the next ``learn`` resets the environments.

    :param model: that is training
    :param fault: what is wrong, in words
    :param where: environment and step, in words
    :raises ValueError: always
    """
    model._last_obs = None
    for rms, numbers in model._kept_statistics:
        vars(rms).update(numbers)
    raise ValueError(
        f"{fault} in {where}: mend the environment (None becomes NaN on its way), or clip or skip "
        f"such steps there. The model is that of {updates_of(model)}, and can be saved"
    )


def bad_observation(obs: Any, space: spaces.Space[Any], n_envs: int) -> tuple[int, str] | None:
    """Environment and fault of the first observation that no network can learn from.

    :param obs: n_envs observations
    :param space: of one of them
    :param n_envs: number of environments
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


def _bad_rows(
    name: str, rows: Any, space: spaces.Space[Any], n_envs: int
) -> tuple[int, str] | None:
    bad = _not_numbers(name, rows, (n_envs, *(space.shape or ())))
    if bad is not None:
        return bad
    if isinstance(space, spaces.Box):
        if rows.dtype.kind == "f":  # a sum of squares is no larger only if none of its terms is
            surely_fine = bool(np.vdot(rows, rows) <= LARGEST**2)
        else:
            surely_fine = rows.dtype.itemsize <= 4
        if surely_fine:
            return None
    low, high = _limits(space)
    places = np.argwhere(~((rows >= low) & (rows <= high)))
    if not len(places):
        return None
    return int(places[0][0]), name + why(rows[tuple(places[0])], space)


def _not_numbers(name: str, rows: Any, shape: tuple[int, ...]) -> tuple[int, str] | None:
    if not isinstance(rows, np.ndarray):
        env, given = 0, type(rows).__name__
    elif rows.shape != shape:
        env, given = 0, str(rows.shape[1:])
        if rows.shape[:1] != shape[:1]:
            given = f"an array {rows.shape} for {shape[0]} environments"
    elif rows.dtype.kind not in "biuf":
        odd = (env for env, row in enumerate(rows) if not _are_finite(row))
        env, given = next(odd, 0), str(rows.dtype)
    else:
        return None
    return env, f"{name} must have shape {shape[1:]} and be of numbers, got {given}"


def _are_finite(row: Any) -> bool:
    try:
        return bool(np.isfinite(np.array(np.asarray(row).tolist(), np.float64)).all())
    except (TypeError, ValueError):
        return False


def _limits(space: spaces.Space[Any]) -> tuple[Any, Any]:
    if isinstance(space, spaces.Discrete):
        return 0, space.n - 1
    if isinstance(space, spaces.MultiDiscrete):
        return 0, space.nvec - 1
    if isinstance(space, spaces.MultiBinary):
        return 0, 1
    return -LARGEST, LARGEST


def why(number: Any, space: spaces.Space[Any] | None = None) -> str:
    """What is wrong with a number.

    :param number: of an observation or reward
    :param space: that it should be in
    """
    if not np.isfinite(number):
        return f" is not finite ({number:g})"
    if space is None or isinstance(space, spaces.Box):
        return f" is too large ({number:g}; the limit is {LARGEST:g})"
    return f" is not in {space} ({number})"
