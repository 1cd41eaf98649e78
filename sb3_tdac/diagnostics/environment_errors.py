"""Errors that an environment raises, or its ``VecEnv``: which environment, in which step."""

import traceback
from typing import Any, NoReturn

from gymnasium import spaces
from gymnasium.vector import VectorEnv
from stable_baselines3.common.vec_env import SubprocVecEnv, VecEnv

from sb3_tdac.diagnostics.location import place_of_error, updates_of
from sb3_tdac.diagnostics.numbers import fault_of, is_number
from sb3_tdac.diagnostics.subprocesses import stop_workers

#: Modules whose code handles what an environment returned, and is no part of one.
HANDLERS = (
    *("stable_baselines3.common.vec_env", "stable_baselines3.common.monitor", "sb3_tdac.vec_"),
    *("gymnasium.vector", "gymnasium.wrappers.vector"),
)
#: The function of ``AsyncVectorEnv`` that raises what the environment of a process raised.
RAISES_FOR_ENV = "_raise_if_errors"


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
            f"the process of {place_of_error(model, index, resetting)} died with exit code {code}:"
            " its own error is above, unless a signal ended it (-9: perhaps no memory was left). "
            f"The other processes are stopped: set_env gives the model new ones. {saved}"
        ) from error
    where = place_of_error(model, index, resetting)
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


def _origin(error: Exception) -> tuple[int | None, bool, bool]:
    """Index of the environment, whether it was one, and whether its ``VecEnv`` could not go on."""
    env, is_from_env, is_handler, parts = None, False, False, []
    for frame, _ in traceback.walk_tb(error.__traceback__):
        module, names = frame.f_globals.get("__name__", ""), frame.f_locals
        owner = names.get("self")
        if isinstance(owner, VecEnv):
            is_from_env = True
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


def _first_odd(results: list[Any], space: spaces.Space[Any]) -> int | None:
    """Index of the first process with an observation, reward or flag that no array can hold."""
    for env, (obs, *rest) in enumerate(results):
        numbers = rest[:2] if len(rest) > 1 else []  # a reset has none
        if fault_of(obs, space) or not all(map(is_number, numbers)):
            return env
    return None
