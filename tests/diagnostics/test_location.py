"""An error says where it happened: environment, step of its episode, time step and updates."""

from typing import Any

import pytest
from helpers.environments import BOTH_PATHS
from helpers.faulty_environments import SensorError, faulty_model, raises

# Two environments, rollouts of 4 steps, episodes of 3: the fault is in step ``at`` of the second.
PLACES = {
    1: r"environment 1 at step 1 of its episode \(time step 2, after 0 updates\)",
    3: r"environment 1 at step 3 of its episode \(time step 6, after 0 updates\)",
    4: r"environment 1 at step 1 of its episode \(time step 8, after 0 updates\)",
    5: r"environment 1 at step 2 of its episode \(time step 10, after 1 update\)",
    9: r"environment 1 at step 3 of its episode \(time step 18, after 2 updates\)",
}


@BOTH_PATHS
@pytest.mark.parametrize(("at", "where"), PLACES.items())
@pytest.mark.parametrize("fault", [dict(reward=1e30), raises], ids=["reward", "error"])
def test_an_error_names_environment_step_of_episode_time_step_and_updates(
    fault: Any, at: int, where: str, fast_path: bool
) -> None:
    """A reward is looked at when the rollout ends, what the environment raises at once."""
    model = faulty_model(fault, fast_path, env=dict(at=at, length=3))
    with pytest.raises((ValueError, SensorError), match=where):
        model.learn(24)


def test_an_error_in_the_reset_after_an_episode_is_located_at_its_last_step() -> None:
    """The ``VecEnv`` resets within the step that ends the episode: step 9, in episodes of 3."""
    model = faulty_model(env=dict(length=3))
    env = model.get_env().envs[1].unwrapped  # type: ignore[union-attr]
    reset = env.reset
    env.reset = lambda **options: raises() if env.n_steps == 9 else reset(**options)
    with pytest.raises(SensorError, match=f"raised by {PLACES[9]}"):
        model.learn(24)


def test_steps_of_an_episode_are_counted_on_when_training_goes_on() -> None:
    """8 steps of each environment in one call of ``learn``, the fault after 3 of the next."""
    model = faulty_model(dict(reward=1e30), env=dict(at=11, length=100)).learn(16)
    where = r"environment 1 at step 11 of its episode \(time step 22, after 2 updates\)"
    with pytest.raises(ValueError, match=where):
        model.learn(8, reset_num_timesteps=False)
