"""Environments that break their contract: which one, in which step."""

import traceback
from multiprocessing import connection
from typing import Any, NoReturn

import numpy as np
from gymnasium import spaces
from gymnasium.vector import VectorEnv
from numpy.typing import NDArray
from stable_baselines3.common.vec_env import SubprocVecEnv, VecEnv

from sb3_tdac.places import place, place_of_row, updates_of
from sb3_tdac.transitions import TransitionBuffer

#: Largest size of an observation or reward: sums of its square stay finite in float32.
LARGEST = 1e15
#: Modules whose code handles what an environment returned, and is no part of one.
HANDLERS = (
    *("stable_baselines3.common.vec_env", "stable_baselines3.common.monitor", "sb3_tdac.vec_"),
    *("gymnasium.vector", "gymnasium.wrappers.vector"),
)
#: Seconds in which a process that lost its pipe is gone, and one that is told to end has ended.
DEATH_TIMEOUT = 5.0


def check_observations(model: Any, obs: Any) -> None:
    """Refuse observations that are not of their space's shape, or have a number beyond 1e15.

    Bounds of a ``Box`` do not count; those of a discrete space do: a network has no place for more.

    :param model: that is training, and saw them last
    :param obs: one observation of each environment
    :raises ValueError: naming environment and step
    """
    bad = _bad_observation(obs, model.observation_space, model.n_envs)
    if bad is not None:
        env, fault = bad
        step = 0 if model._last_episode_starts[env] else int(model._elapsed_steps[env]) + 1
        _stop(model, fault, place(model, env, step))


def check_step(model: Any, rewards: Any, dones: Any) -> None:
    """Refuse rewards and ends of episodes that are not one number for each environment.

    :param model: that is training
    :param rewards: what a ``VecEnv`` returned
    :param dones: likewise
    :raises ValueError: naming the step
    """
    for name, numbers in (("rewards", rewards), ("dones", dones)):
        if np.shape(numbers) != (model.n_envs,):
            fault = f"{name} must be one number for each environment, got {np.shape(numbers)}"
            _stop(model, fault, _place_of_error(model, None, False))


def check_rollout(model: Any, buffer: TransitionBuffer) -> None:
    """The same of rewards and of the observations that time limits cut.

    :param model: that is training
    :param buffer: the whole rollout
    :raises ValueError: naming environment and step
    """
    rewards = buffer.rewards.reshape(-1)
    for bad_row in _bad_rewards(rewards):
        _stop(model, "reward" + _why(rewards[bad_row]), place_of_row(model, buffer, bad_row))
    for row, obs in buffer.time_limits:
        one = {k: _batch(v) for k, v in obs.items()} if isinstance(obs, dict) else _batch(obs)
        bad = _bad_observation(one, model.observation_space, 1)
        if bad is not None:
            _stop(model, "terminal_" + bad[1], place_of_row(model, buffer, row))


def _batch(obs: Any) -> Any:
    """A batch of one; what is ragged stays as it is, and is no array."""
    try:
        return np.array([obs])
    except ValueError:
        return obs


def _bad_rewards(rewards: NDArray[Any]) -> list[int]:
    """Indices of those that are not finite or too large."""
    if np.vdot(rewards, rewards) <= LARGEST**2:  # then no term is larger
        return []
    bad: list[int] = np.flatnonzero(~(np.abs(rewards) <= LARGEST)).tolist()
    return bad


def _stop(model: Any, fault: str, where: str) -> NoReturn:
    """The next ``learn`` resets the environments."""
    model._last_obs = None
    for rms, numbers in model._kept_statistics:
        vars(rms).update(numbers)
    raise ValueError(
        f"{fault} in {where}: mend the environment (None becomes NaN on its way), or clip or skip "
        f"such steps there. The model is that of {updates_of(model)}, and can be saved"
    )


def _bad_observation(obs: Any, space: spaces.Space[Any], n_envs: int) -> tuple[int, str] | None:
    """Environment and fault of the first observation that no network can learn from."""
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
    shape = (n_envs, *(space.shape or ()))
    if not isinstance(rows, np.ndarray) or rows.dtype.kind not in "biuf" or rows.shape != shape:
        given = np.shape(rows)[1:] if isinstance(rows, np.ndarray) else type(rows).__name__
        return 0, f"{name} must have shape {shape[1:]} and be of numbers, got {given}"
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
    return int(places[0][0]), name + _why(rows[tuple(places[0])], space)


def _limits(space: spaces.Space[Any]) -> tuple[Any, Any]:
    if isinstance(space, spaces.Discrete):
        return 0, space.n - 1
    if isinstance(space, spaces.MultiDiscrete):
        return 0, space.nvec - 1
    if isinstance(space, spaces.MultiBinary):
        return 0, 1
    return -LARGEST, LARGEST


def _why(number: Any, space: spaces.Space[Any] | None = None) -> str:
    if not np.isfinite(number):
        return f" is not finite ({number:g})"
    if space is None or isinstance(space, spaces.Box):
        return f" is too large ({number:g}; the limit is {LARGEST:g})"
    return f" is not in {space} ({number})"


def blame(model: Any, env: VecEnv, error: Exception, resetting: bool = False) -> NoReturn:
    """Raise what a ``VecEnv`` raised, with the environment and its step.

    What the environment's own code raised keeps its type, and gets a note.

    :param model: that is training
    :param env: environments
    :param error: caught from ``step`` or ``reset``; others are raised as they are
    :param resetting: it was the ``reset``
    :raises ValueError: if the ``VecEnv`` could not take what an environment returned
    :raises RuntimeError: if the process of an environment died; those of the others are stopped
    """
    index, is_from_env, is_handler = _origin(error)
    if not is_from_env:
        raise error
    saved = f"The model is that of {updates_of(model)}, and can be saved"
    if not resetting:
        model._last_obs = None  # the next ``learn`` resets
    base = env.unwrapped
    if isinstance(base, SubprocVecEnv) and isinstance(error, EOFError | OSError):
        if base.closed:
            raise RuntimeError("env is closed: give the model another one by set_env") from error
        index, code = stop_workers(base)
        raise RuntimeError(
            f"the process of {_place_of_error(model, index, resetting)} died with exit code {code}:"
            " its own error is above, unless a signal ended it (-9: perhaps no memory was left). "
            f"The other processes are stopped: set_env gives the model new ones. {saved}"
        ) from error
    where = _place_of_error(model, index, resetting)
    if is_handler:
        raise ValueError(
            f"an observation, reward, flag or info of {where} is not what its VecEnv can take: "
            f"{type(error).__name__}: {error}. Mend the environment: "
            f"stable_baselines3.common.env_checker.check_env finds more. {saved}"
        ) from error
    note = f"raised by {where}. {saved}"
    if hasattr(error, "add_note"):
        error.add_note(note)
    else:  # Python 3.10, which does not print it
        error.__notes__ = [*getattr(error, "__notes__", []), note]
    raise error


def _place_of_error(model: Any, env: int | None, resetting: bool) -> str:
    if env is None:
        return f"one of the environments (after time step {model.num_timesteps})"
    if resetting:
        return place(model, env, 0)
    return place(model, env, _next_step(model, env), steps_ago=-1)


def _next_step(model: Any, env: int) -> int:
    return 1 if model._last_episode_starts[env] else int(model._elapsed_steps[env]) + 2


def _origin(error: Exception) -> tuple[int | None, bool, bool]:
    """Index of the environment, whether it was one, and whether its ``VecEnv`` could not go on."""
    env, is_from_env, is_handler, parts = None, False, False, []
    for frame, _ in traceback.walk_tb(error.__traceback__):
        module, owner = frame.f_globals.get("__name__", ""), frame.f_locals.get("self")
        if isinstance(owner, VecEnv):
            is_from_env = True
            env = frame.f_locals.get("env_idx", frame.f_locals.get("i", env))
        elif isinstance(owner, VectorEnv):
            parts = [*getattr(owner, "envs", ())]
        elif any(part is owner for part in parts):
            env = next(i for i, part in enumerate(parts) if part is owner)
        if not module.startswith("numpy"):
            is_handler = module.startswith(HANDLERS)
    return (env if isinstance(env, int) else None), is_from_env, is_handler


def stop_workers(env: SubprocVecEnv) -> tuple[int | None, int | None]:
    """End the processes of an environment that has lost one: its ``close`` would wait for ever.

    :param env: environment, closed afterwards
    :return: index and exit code of the process that died
    """
    connection.wait([process.sentinel for process in env.processes], DEATH_TIMEOUT)
    codes = [process.exitcode for process in env.processes]
    dead = next((i for i, code in enumerate(codes) if code is not None), None)
    for process in env.processes:
        process.terminate()
    for process in env.processes:
        process.join(DEATH_TIMEOUT)
        if process.exitcode is None:
            process.kill()
            process.join()
    for remote in env.remotes:
        remote.close()
    env.waiting, env.closed = False, True
    return dead, None if dead is None else codes[dead]
