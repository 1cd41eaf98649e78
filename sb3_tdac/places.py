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
