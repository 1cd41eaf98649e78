"""The evaluation of a comparison: the same episodes after the same steps for all algorithms."""

import json
import random
import time
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch
from numpy.typing import NDArray
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.evaluation import evaluate_policy
from stable_baselines3.common.utils import set_random_seed
from stable_baselines3.common.vec_env import VecEnv, sync_envs_normalization

from sb3_tdac.zoo.compare.runs import DETERMINISTIC, EVAL_SEED, EVALUATIONS, STOCHASTIC, Run


def clocks() -> NDArray[np.float64]:
    """Read the wall clock and the CPU time of this process, which others do not lengthen.

    rl_zoo3 steps all environments in the process that trains, so its CPU time is all there is.
    """
    return np.array([time.perf_counter(), time.process_time()])


@contextmanager
def own_generators() -> Iterator[None]:
    """Restore the global random generators after a block."""
    before = random.getstate(), np.random.get_state()
    with torch.random.fork_rng():
        try:
            yield
        finally:
            random.setstate(before[0])
            np.random.set_state(before[1])


class Evaluation(BaseCallback):
    """Evaluates on the same episodes after the same steps, however long the rollouts are.

    Its time does not count as training time, and training goes on as it would without it.

    :param run: where it writes, and the steps
    :param env: one environment for each episode
    """

    def __init__(self, run: Run, env: VecEnv):
        super().__init__()
        self.run, self.env = run, env
        self.due = run.steps[:-1]

    def _on_training_start(self) -> None:
        self.start = clocks()
        self._on_step()

    def _on_step(self) -> bool:
        reached = [step for step in self.due if step <= self.num_timesteps]
        if reached:
            self.due = self.due[len(reached) :]
            begin = clocks()
            self.evaluate(self.model, reached, begin - self.start)
            self.start += clocks() - begin
        return True

    def _on_training_end(self) -> None:
        self.spent = clocks() - self.start

    def finish(self, model: BaseAlgorithm) -> None:
        """Evaluate the trained agent; a last rollout may have taken it beyond the last step."""
        self.evaluate(model, [*self.due, self.run.steps[-1]], self.spent)

    def evaluate(self, model: BaseAlgorithm, steps: list[int], spent: NDArray[np.float64]) -> None:
        """Write the returns of all episodes, with deterministic and with sampled actions.

        :param steps: steps of the schedule that were reached since the last evaluation
        :param spent: training time: on the wall, and of the CPU
        """
        times = dict(zip(("seconds", "cpu_seconds"), spent.round(3).tolist(), strict=True))
        known = {"timesteps": model.num_timesteps, **times}
        if model.get_vec_normalize_env() is not None:
            assert model.env is not None
            sync_envs_normalization(model.env, self.env)
        for mode in (DETERMINISTIC, STOCHASTIC):
            returns = self.returns(model, mode)
            with (self.run.folder / EVALUATIONS).open("a") as file:
                for step in steps:
                    row = {"mode": mode, "step": step, **known, "returns": returns}
                    file.write(json.dumps(row) + "\n")

    def returns(self, model: BaseAlgorithm, mode: str) -> list[float]:
        """Play all episodes.

        :param mode: deterministic or sampled actions
        """
        self.env.seed(EVAL_SEED)
        with own_generators():
            set_random_seed(EVAL_SEED)
            returns, _ = evaluate_policy(
                model,
                self.env,
                n_eval_episodes=self.env.num_envs,
                deterministic=mode == DETERMINISTIC,
                return_episode_rewards=True,
            )
        assert isinstance(returns, list)
        return [float(each) for each in returns]
