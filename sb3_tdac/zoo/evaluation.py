"""One process of a comparison: rl_zoo3's training, with the same evaluation for all algorithms."""

import json
import multiprocessing
import os
import random
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any

import numpy as np
import torch
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


@dataclass(frozen=True)
class Clock:
    """Two times of one process: on the wall, and of the CPU, which other processes do not lengthen.

    rl_zoo3 steps all environments in the process that trains, so its CPU time is all there is.
    """

    seconds: float
    cpu_seconds: float

    @classmethod
    def now(cls) -> "Clock":
        """What the clocks show."""
        return cls(time.perf_counter(), time.process_time())

    def __sub__(self, other: "Clock") -> "Clock":
        return Clock(self.seconds - other.seconds, self.cpu_seconds - other.cpu_seconds)

    def __add__(self, other: "Clock") -> "Clock":
        return Clock(self.seconds + other.seconds, self.cpu_seconds + other.cpu_seconds)


@contextmanager
def own_generators() -> Iterator[None]:
    """Leave the global random generators as they were."""
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
        self.start = Clock.now()
        self._on_step()

    def _on_step(self) -> bool:
        reached = [step for step in self.due if step <= self.num_timesteps]
        if reached:
            self.due = self.due[len(reached) :]
            begin = Clock.now()
            self.evaluate(self.model, reached, begin - self.start)
            self.start += Clock.now() - begin
        return True

    def _on_training_end(self) -> None:
        self.spent = Clock.now() - self.start

    def finish(self, model: BaseAlgorithm) -> None:
        """Evaluate the trained agent; a last rollout may have taken it beyond the last step.

        :param model: agent
        """
        self.evaluate(model, [*self.due, self.run.steps[-1]], self.spent)

    def evaluate(self, model: BaseAlgorithm, steps: list[int], spent: Clock) -> None:
        """Write the returns of all episodes, with deterministic and with sampled actions.

        :param model: agent
        :param steps: of the schedule, all reached since the evaluation before
        :param spent: time of training
        """
        times = {key: round(value, 3) for key, value in asdict(spent).items()}
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
        """Returns of all episodes.

        :param model: agent
        :param mode: of the actions
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
    options = ["--env", run.env, "--algo", settings["algo"], "--seed", str(run.seed)]
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
