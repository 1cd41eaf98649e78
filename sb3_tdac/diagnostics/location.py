"""Says in messages where something happened: environment, step of its episode, time step."""

from dataclasses import dataclass

from sb3_tdac.aliases import Array


@dataclass(frozen=True)
class Location:
    """A moment of a training, and the words for it.

    :param num_timesteps: steps of all environments so far
    :param n_updates: updates so far
    :param episode_starts: (n_envs,) bool, whether the next step is the first of an episode
    :param elapsed_steps: (n_envs,) the last step of each episode, counted from 0
    :param rollout_elapsed_steps: (n_steps, n_envs) the same for all steps of the last rollout
    """

    num_timesteps: int
    n_updates: int
    episode_starts: Array
    elapsed_steps: Array
    rollout_elapsed_steps: Array

    @property
    def updates(self) -> str:
        """Number of updates so far, like ``"7 updates"``."""
        return f"{self.n_updates} update{'' if self.n_updates == 1 else 's'}"

    @property
    def model_state(self) -> str:
        """A sentence about the model after a failure."""
        return f"The model is as it was after {self.updates}, and can be saved"

    def at(self, env: int, step: int, steps_ago: int = 0) -> str:
        """An environment and its step.

        :param env: index of the environment
        :param step: step of its episode, from 1; 0: its reset
        :param steps_ago: number of steps since then; -1: the step is not counted yet
        """
        moment = f"step {step} of its episode" if step else "a reset"
        time_step = self.num_timesteps - steps_ago * len(self.elapsed_steps)
        return f"environment {env} at {moment} (time step {time_step}, after {self.updates})"

    def last_observation(self, env: int) -> str:
        """The step that gave the newest observation.

        :param env: index of the environment
        """
        return self.at(env, 0 if self.episode_starts[env] else int(self.elapsed_steps[env]) + 1)

    def transition(self, row: int) -> str:
        """The step of a transition of the last rollout.

        :param row: its row among the B = n_steps * n_envs transitions
        """
        step, env = divmod(row, len(self.elapsed_steps))
        elapsed = int(self.rollout_elapsed_steps[step, env]) + 1
        return self.at(env, elapsed, steps_ago=len(self.rollout_elapsed_steps) - 1 - step)

    def whole_step(self) -> str:
        """The step of all environments that is not counted yet."""
        return f"the step after time step {self.num_timesteps}"

    def next_step(self, env: int | None, is_reset: bool = False) -> str:
        """The step, or the reset, that the environments are taking and that is not counted yet.

        :param env: index of the environment; ``None``: unknown
        :param is_reset: it is a reset of all environments
        """
        if env is None:
            return f"one of the environments (after time step {self.num_timesteps})"
        if is_reset:
            return self.at(env, 0)
        # from 1, and one step after the last
        step = 1 if self.episode_starts[env] else int(self.elapsed_steps[env]) + 2
        return self.at(env, step, steps_ago=-1)
