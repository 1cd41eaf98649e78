"""``sb3-tdac sweep``: reads its options, and runs the parent process of the workers."""

import argparse
import os
import signal
import time
import zlib
from functools import partial
from multiprocessing.process import BaseProcess
from pathlib import Path
from socket import gethostname
from typing import Any

import numpy as np
import optuna
from optuna.storages import BaseStorage
from optuna.trial import TrialState
from rl_zoo3.hyperparams_opt import HYPERPARAMS_SAMPLER

from sb3_tdac.zoo.progress import ProgressDisplay
from sb3_tdac.zoo.rl_zoo3_calls import train_with
from sb3_tdac.zoo.storage import opened
from sb3_tdac.zoo.sweep import report
from sb3_tdac.zoo.sweep.study import RETRIES, fail, fail_orphans, owner, retry, spent
from sb3_tdac.zoo.sweep.worker import SweepManager, work
from sb3_tdac.zoo.workers import PAUSE, new_process, on_signal, sigterm_interrupts

#: Seconds that a worker has to end its trial.
PATIENCE = 10


def sweep(options: list[str]) -> None:
    """Search hyperparameters with several processes.

    :param options: ``--workers``, and options of rl_zoo3's ``train``
    """
    parser = argparse.ArgumentParser(
        prog="sb3-tdac sweep",
        description="Search hyperparameters with several processes, on one machine or on several "
        "that name the same storage and study. Other options are those of sb3-tdac train; "
        "--n-trials is the number of finished trials in the whole study, --storage a journal file "
        "(*.log) or a database URL, by default LOG_FOLDER/ALGO/sweeps/STUDY_NAME/journal.log.",
    )
    parser.add_argument("--workers", type=int, default=1, help="processes on this machine")
    own, others = parser.parse_known_args(options)
    if own.workers < 1:
        parser.error(f"--workers must be at least 1, got {own.workers}")
    manager = partial(Sweep, options=others, workers=own.workers)
    train_with(manager, [*others, "-optimize"])


class Sweep(SweepManager):
    """The parent process: it makes the study, starts workers, shows progress, writes the best."""

    def __init__(self, *more: Any, options: list[str], workers: int, **others: Any):
        super().__init__(*more, **others)
        self.options, self.workers = options, workers
        if self.algo not in HYPERPARAMS_SAMPLER:
            raise ValueError(f"rl_zoo3 has no sampler of hyperparameters for {self.algo}")
        if self.n_jobs != 1:
            raise ValueError(f"--n-jobs must be 1, got {self.n_jobs}: use --workers")
        self.study_name = self.study_name or str(self.env_name)
        self.folder = Path(self.log_path) / "sweeps" / self.study_name
        self.url = self.storage or str(self.folder / "journal.log")
        self.processes: list[BaseProcess] = []
        self.reported: set[int] = set()
        self.started = self.futile = 0

    def hyperparameters_optimization(self) -> None:
        """Run the sweep.

        :raises ValueError: if the study is another algorithm's
        :raises RuntimeError: if no trial gave a result, or workers die at once
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        with opened(self.url, on_stale=retry) as storage:
            study = self._open_study(storage)
            fail_orphans(study)
            try:
                with sigterm_interrupts():
                    with ProgressDisplay("trials", self.asked, n_jobs=self.asked) as progress:
                        self._supervise(study, progress)
            finally:
                self._end(study)
            report.write_best(study, self, self.folder)

    def _open_study(self, storage: BaseStorage) -> optuna.Study:
        """Make or open the study; workers that make it at the same time would fail."""
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        study = optuna.create_study(
            study_name=self.study_name,
            storage=storage,
            direction="maximize",
            load_if_exists=True,
        )
        wanted = {"algo": self.algo, "env": str(self.env_name)}
        attributes = study.user_attrs
        if not attributes and not study.get_trials(deepcopy=False):
            for key, value in wanted.items():
                study.set_user_attr(key, value)
        elif any(attributes.get(key) != value for key, value in wanted.items()):
            found = " on ".join(str(attributes.get(key, "unknown")) for key in wanted)
            raise ValueError(
                f"study {self.study_name!r} is one of {found}, not of {self.algo} on "
                f"{self.env_name}: choose another --study-name"
            )
        return study

    def _supervise(self, study: optuna.Study, progress: ProgressDisplay) -> None:
        """Keep the workers alive until enough trials are finished."""
        n_spent = -1
        while True:
            trials = study.get_trials(deepcopy=False)
            finished = spent(trials)
            self._show(finished, progress)
            if len(finished) >= self.asked:
                return
            if len(finished) > n_spent:
                n_spent, self.futile = len(finished), 0
            self._bury(study)
            while len(self.processes) < min(self.workers, self.asked - len(finished)):
                self._start(study.study_name, len(trials))
            time.sleep(PAUSE)

    def _show(self, finished: list[optuna.trial.FrozenTrial], progress: ProgressDisplay) -> None:
        """Show how many trials are finished, and the results of the new ones."""
        summary = report.summary(finished, len(self.processes))
        progress.show(len(finished), summary)
        for trial in finished:
            if trial.number not in self.reported:
                self.reported.add(trial.number)
                progress.end_job(f"{report.result(trial)}; {summary}")

    def _bury(self, study: optuna.Study) -> None:
        """Take the dead workers off the list, and give their trials to others."""
        dead = [process for process in self.processes if not process.is_alive()]
        self.processes = [process for process in self.processes if process not in dead]
        self.futile += sum(process.exitcode != 0 for process in dead)
        if self.futile > 3 * self.workers:
            raise RuntimeError(f"workers die without finishing a trial: see {self.folder}/*.log")
        fail_orphans(study, ended=[owner(process.pid) for process in dead])

    def _start(self, study_name: str, n_trials: int) -> None:
        """Start a worker, with a seed that no other one has."""
        entropy = [self.seed, n_trials, zlib.crc32(gethostname().encode()), self.started]
        seed = int(np.random.SeedSequence(entropy).generate_state(1)[0])
        self.started += 1
        options = [*self.options, "--seed", str(seed), "--storage", self.url]
        options += ["--study-name", study_name, "--max-total-trials", str(self.asked)]
        log = str(self.folder / f"worker_{gethostname()}_{os.getpid()}_{self.started}.log")
        process = new_process(work, options, log)
        # Ctrl-C reaches all processes of a terminal: workers ignore it from their first moment.
        with on_signal(signal.SIGINT, signal.SIG_IGN):
            process.start()
        self.processes.append(process)

    def _end(self, study: optuna.Study) -> None:
        """End the workers, and mark their trials and the unneeded retries as failed."""
        for process in self.processes:
            process.terminate()
        deadline = time.monotonic() + PATIENCE
        for process in self.processes:
            process.join(max(0.0, deadline - time.monotonic()))
            process.kill()
            process.join()
        ended = [owner(process.pid) for process in self.processes]
        self.processes = []
        fail_orphans(study, ended, again=False)
        trials = study.get_trials(deepcopy=False)
        if len(spent(trials)) >= self.asked:
            for trial in trials:
                if trial.state == TrialState.WAITING and RETRIES in trial.user_attrs:
                    fail(study, trial)
