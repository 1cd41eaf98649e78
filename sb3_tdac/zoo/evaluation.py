"""One process of a comparison: rl_zoo3's training, with the same evaluation for all algorithms."""

import json
import multiprocessing
import os
import threading
import time
from functools import partial
from typing import Any

from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.evaluation import evaluate_policy
from stable_baselines3.common.utils import set_random_seed
from stable_baselines3.common.vec_env import VecEnv, sync_envs_normalization

from sb3_tdac.zoo.commands import train
from sb3_tdac.zoo.manager import ZooManager
from sb3_tdac.zoo.runs import DETERMINISTIC, ENTRY, EVALUATIONS, LOG, STOCHASTIC, Run
from sb3_tdac.zoo.worker import prepare

#: Each evaluation episode has an environment of its own, with this seed plus its number.
EVAL_SEED = 1_000_000


class Evaluation(BaseCallback):
    """Evaluates on the same episodes after the same steps, however long the rollouts are.

    Its time does not count as training time.

    :param run: where it writes, and the steps
    :param env: one environment for each episode
    """

    def __init__(self, run: Run, env: VecEnv):
        super().__init__()
        self.run, self.env = run, env
        self.due = run.steps[:-1]
        self.seconds = self.pause = 0.0

    def _on_training_start(self) -> None:
        self.start = time.perf_counter()

    def _on_step(self) -> bool:
        reached = [step for step in self.due if step <= self.num_timesteps]
        if reached:
            self.due = self.due[len(reached) :]
            begin = time.perf_counter()
            self.evaluate(self.model, reached, begin - self.start - self.pause)
            self.pause += time.perf_counter() - begin
        return True

    def _on_training_end(self) -> None:
        self.seconds = time.perf_counter() - self.start - self.pause

    def finish(self, model: BaseAlgorithm) -> None:
        """Evaluate the trained agent; a last rollout may have taken it beyond the last step.

        :param model: agent
        """
        left = [*self.due, self.run.steps[-1]]
        self.evaluate(model, left, self.seconds)
        self.evaluate(model, left[-1:], self.seconds, mode=STOCHASTIC)

    def evaluate(
        self, model: BaseAlgorithm, steps: list[int], seconds: float, mode: str = DETERMINISTIC
    ) -> None:
        """Write the returns of all episodes.

        :param model: agent
        :param steps: of the schedule, all reached since the evaluation before
        :param seconds: of training
        :param mode: of the actions
        """
        if model.get_vec_normalize_env() is not None:
            assert model.env is not None
            sync_envs_normalization(model.env, self.env)
        if mode == STOCHASTIC:  # after training, which this would disturb
            set_random_seed(EVAL_SEED)
        self.env.seed(EVAL_SEED)
        returns, _ = evaluate_policy(
            model,
            self.env,
            n_eval_episodes=self.env.num_envs,
            deterministic=mode == DETERMINISTIC,
            return_episode_rewards=True,
        )
        assert isinstance(returns, list)
        with (self.run.folder / EVALUATIONS).open("a") as file:
            for step in steps:
                row = {"mode": mode, "step": step, "timesteps": model.num_timesteps}
                row |= {"seconds": round(seconds, 3), "returns": [float(r) for r in returns]}
                file.write(json.dumps(row) + "\n")


class RunManager(ZooManager):
    """rl_zoo3's training of one run, in its folder."""

    def __init__(self, *more: Any, run: Run, **options: Any):
        super().__init__(*more, **options)
        self.run = run
        self.save_path = str(run.folder)
        self.params_path = f"{self.save_path}/{self.env_name}"

    def create_callbacks(self) -> None:
        """Ours in the place of rl_zoo3's, whose steps depend on the number of environments."""
        super().create_callbacks()
        env = self.create_envs(self.run.settings["eval_episodes"], eval_env=True)
        self.evaluation = Evaluation(self.run, env)
        self.callbacks.append(self.evaluation)

    def save_trained_model(self, model: BaseAlgorithm) -> None:
        """Save, then evaluate: a run with all evaluations lacks nothing."""
        super().save_trained_model(model)
        self.evaluation.finish(model)


def work(run: Run, packages: list[str]) -> None:
    """Train in this process, which was started for it.

    :param run: run
    :param packages: modules that register environments
    """
    prepare(str(run.folder / LOG))
    parent = multiprocessing.parent_process()
    assert parent is not None
    threading.Thread(target=_end_with, args=(parent,), daemon=True).start()
    settings = run.settings
    options = ["--env", run.env, "--algo", run.algo, "--seed", str(run.seed)]
    options += ["-n", str(settings["n_timesteps"]), "--eval-freq", "-1", "--num-threads", "1"]
    options += ["-conf", str(run.folder / ENTRY), "-f", str(run.out), "--verbose", "0"]
    options += [
        "--device",
        settings["device"],
        *(["--gym-packages", *packages] if packages else []),
    ]
    train(options, partial(RunManager, run=run))


def _end_with(parent: Any) -> None:
    """Nobody would know of a run that goes on when its parent was killed."""
    parent.join()
    os._exit(1)
