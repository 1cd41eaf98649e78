"""Exceptions of environments and their ``VecEnv``, raised again with environment and step."""

import traceback
from typing import Any, NoReturn

from gymnasium.vector import VectorEnv
from stable_baselines3.common.vec_env import SubprocVecEnv, VecEnv

from sb3_tdac.aliases import Space
from sb3_tdac.diagnostics.location import Location
from sb3_tdac.diagnostics.numbers import fault_of, is_number
from sb3_tdac.diagnostics.subprocesses import stop_workers

#: Modules that handle what an environment returned, and are no part of an environment.
HANDLERS = (
    *("stable_baselines3.common.vec_env", "stable_baselines3.common.monitor", "sb3_tdac.vec_"),
    *("gymnasium.vector", "gymnasium.wrappers.vector"),
)
#: Modules whose local variables ``env_idx`` or ``i`` are the index of an environment.
INDEX_NAMERS = ("stable_baselines3.common.vec_env", "sb3_tdac.vec_envs")
#: The function of ``AsyncVectorEnv`` that raises the exceptions of its processes again.
RAISES_FOR_ENV = "_raise_if_errors"


def explain(error: Exception, env: VecEnv, location: Location, is_reset: bool = False) -> NoReturn:
    """Raise the exception of a ``VecEnv`` again, with the environment and its step.

    An exception of the environment's own code keeps its type, and gets a note.

    :param error: caught from ``step`` or ``reset``
    :param env: environments
    :param location: moment of the training
    :param is_reset: it was a reset
    :raises ValueError: if the ``VecEnv`` could not take what an environment returned
    :raises RuntimeError: if the process of an environment died; the other processes are stopped
    """
    index, is_from_env, is_handler = _origin(error)
    if not is_from_env:
        raise error
    base = env.unwrapped
    if isinstance(base, SubprocVecEnv) and isinstance(error, EOFError | OSError):
        if base.closed:
            raise RuntimeError("env is closed: give the model another one by set_env") from error
        index, code = stop_workers(base)
        raise RuntimeError(
            f"the process of {location.next_step(index, is_reset)} died with exit code {code}: see "
            "its own error above; -9 usually means that no memory was left. The other processes "
            "are stopped: give the model a new environment by set_env. "
            f"{location.model_state}"
        ) from error
    where = location.next_step(index, is_reset)
    if is_handler:
        raise ValueError(
            f"an observation, reward, flag or info of {where} has a type or shape that its VecEnv "
            f"cannot take: {type(error).__name__}: {error}. Fix the environment: "
            f"stable_baselines3.common.env_checker.check_env finds more. {location.model_state}"
        ) from error
    note = f"raised by {where}. {location.model_state}"
    error.__notes__ = [*getattr(error, "__notes__", []), note]  # add_note needs Python 3.11
    raise error


def _origin(error: Exception) -> tuple[int | None, bool, bool]:
    """Find the environment that an exception comes from, by the frames of its traceback.

    Nothing else can tell: no ``VecEnv`` adds an index to what its environments raise, and a
    ``VecEnv`` that cannot handle a value raises as if the environment did.

    :param error: caught from ``step`` or ``reset``
    :return: index of the environment, if known; whether the exception comes from an environment
        or a ``VecEnv`` at all; whether a ``VecEnv`` could not handle what an environment returned
    """
    env, is_from_env, is_handler, parts = None, False, False, []
    for frame, _ in traceback.walk_tb(error.__traceback__):
        module, names = frame.f_globals.get("__name__", ""), frame.f_locals
        owner = names.get("self")
        if isinstance(owner, VecEnv):
            is_from_env = True
            if module.startswith(INDEX_NAMERS):
                env = names.get("env_idx", names.get("i", env))
            if module == SubprocVecEnv.__module__ and "results" in names:  # all have answered
                env = _first_odd(names["results"], owner.observation_space)
        elif isinstance(owner, VectorEnv):
            parts = [*getattr(owner, "envs", ())]
            if isinstance(error, EOFError):  # of a process of an AsyncVectorEnv
                env = names.get("env_idx", env)
            env = names.get("index", env)
        elif any(part is owner for part in parts):
            env = next(i for i, part in enumerate(parts) if part is owner)
        if not module.startswith("numpy"):
            is_handler = module.startswith(HANDLERS) and frame.f_code.co_name != RAISES_FOR_ENV
    is_handler = is_handler and type(error).__module__ != "gymnasium.error"  # says enough itself
    return (env if isinstance(env, int) else None), is_from_env, is_handler


def _first_odd(results: list[Any], space: Space) -> int | None:
    """Index of the first process with an observation, reward or flag that no array can hold."""
    for env, (obs, *rest) in enumerate(results):
        numbers = rest[:2] if len(rest) > 1 else []  # a reset has none
        if fault_of(obs, space) or not all(map(is_number, numbers)):
            return env
    return None
