"""Where something happened, for error messages."""

from typing import Any

from stable_baselines3.common.base_class import BaseAlgorithm

from sb3_tdac.transitions import TransitionBuffer


def updates_of(model: BaseAlgorithm) -> str:
    """How many updates the model has made, in words.

    :param model: any algorithm of SB3
    """
    n_updates = int(model._n_updates)
    return f"{n_updates} update{'' if n_updates == 1 else 's'}"


def place(model: BaseAlgorithm, env: int, step: int, steps_ago: int = 0) -> str:
    """Where something happened, for an error message.

    :param model: that is training
    :param env: index of the environment
    :param step: of its episode, from 1; 0: its reset
    :param steps_ago: steps of all environments since then
    """
    at = f"step {step} of its episode" if step else "a reset"
    time_step = model.num_timesteps - steps_ago * model.n_envs
    return f"environment {env} at {at} (time step {time_step}, after {updates_of(model)})"


def place_of_row(model: Any, buffer: TransitionBuffer, row: int) -> str:
    """Where a transition of the last rollout happened.

    :param model: that is training
    :param buffer: the whole rollout
    :param row: of its B transitions
    """
    step, env = divmod(row, buffer.n_envs)
    elapsed = int(buffer.elapsed_steps[step, env]) + 1
    return place(model, env, elapsed, steps_ago=buffer.n_steps - 1 - step)


def place_of_error(model: Any, env: int | None, resetting: bool = False) -> str:
    """Where an environment is that has just raised something, or returned it.

    :param model: that is training, and has not counted the step yet
    :param env: index of the environment; ``None``: nobody knows
    :param resetting: it was a reset
    """
    if env is None:
        return f"one of the environments (after time step {model.num_timesteps})"
    if resetting:
        return place(model, env, 0)
    return place(model, env, next_step(model, env), steps_ago=-1)


def next_step(model: Any, env: int) -> int:
    """The step of its episode, from 1, that an environment takes now.

    :param model: that is training, and has not counted the step yet
    :param env: index of the environment
    """
    return 1 if model._last_episode_starts[env] else int(model._elapsed_steps[env]) + 2
