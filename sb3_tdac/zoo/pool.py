"""The processes of a comparison, and what is shown of them."""

import multiprocessing
import os
import time
from multiprocessing.process import BaseProcess
from typing import Any
from unittest import mock

import rich.progress
from rich.console import Console

from sb3_tdac.zoo.evaluation import work
from sb3_tdac.zoo.runs import DETERMINISTIC, LOG, Run
from sb3_tdac.zoo.worker import PAUSE


def describe(run: Run) -> str:
    """The name of a run."""
    return f"{run.algo} on {run.env}, seed {run.seed}"


class Progress:
    """One bar in a terminal; elsewhere a line for each ended run.

    :param runs: all that are to be trained
    """

    def __init__(self, runs: list[Run]):
        self.n_runs, self.ended, self.failed, self.evaluations = len(runs), 0, 0, 0
        console = Console()
        self.bar = rich.progress.Progress(
            *rich.progress.Progress.get_default_columns(),
            rich.progress.TimeElapsedColumn(),
            rich.progress.TextColumn("{task.fields[text]}"),
            console=console,
            disable=not console.is_terminal,
        )
        total = sum(2 * len(run.steps) for run in runs)  # deterministic and stochastic
        self.task = self.bar.add_task("evaluations", total=total, text="")

    def show(self, running: list[Run]) -> None:
        """Show how far the runs are.

        :param running: those that are being trained
        """
        done = self.evaluations + sum(len(run.evaluations()) for run in running)
        text = f"{self.ended} of {self.n_runs} runs, {len(running)} running, {self.failed} failed"
        self.bar.update(self.task, completed=done, text=text)

    def end(self, run: Run, failure: str | None) -> None:
        """Count a run.

        :param run: run
        :param failure: why it failed; ``None``: it did not
        """
        self.ended += 1
        self.failed += failure is not None
        self.evaluations += 2 * len(run.steps)
        if failure is None:
            row = [row for row in run.evaluations() if row["mode"] == DETERMINISTIC][-1]
            result = f"return {sum(row['returns']) / len(row['returns']):.2f}"
            failure = f"{result} after {row['timesteps']} steps in {row['cpu_seconds']:.1f} s"
        line = f"{self.ended}/{self.n_runs}: {describe(run)}: {failure}"
        if self.bar.disable:
            print(line, flush=True)
        else:
            self.bar.console.print(line, markup=False, highlight=False)


class Pool:
    """Trains runs in processes of one thread each.

    :param workers: number of processes
    :param packages: modules that register environments
    """

    def __init__(self, workers: int, packages: list[str]):
        self.workers, self.packages = workers, packages
        self.processes: list[tuple[Run, BaseProcess]] = []
        # Imports take longer than a short run; a fork server has them once for all.
        methods = multiprocessing.get_all_start_methods()
        method = "forkserver" if "forkserver" in methods else "spawn"
        self.context: Any = multiprocessing.get_context(method)
        self.context.set_forkserver_preload([work.__module__, "rl_zoo3.train"])

    def train(self, runs: list[Run]) -> list[tuple[Run, str]]:
        """Train them all, whatever happens to some.

        :param runs: runs
        :return: those that failed, and why
        """
        waiting, failures, progress = list(runs), [], Progress(runs)
        try:
            with progress.bar:
                while waiting or self.processes:
                    while waiting and len(self.processes) < self.workers:
                        self._start(waiting.pop(0))
                    time.sleep(PAUSE)
                    for run, process in [each for each in self.processes if not each[1].is_alive()]:
                        self.processes.remove((run, process))
                        failure = self._failure(run, process)
                        failures += [(run, failure)] if failure else []
                        progress.end(run, failure)
                    progress.show([run for run, _ in self.processes])
        finally:
            for _, process in self.processes:
                process.kill()
                process.join()
        return failures

    def _start(self, run: Run) -> None:
        run.prepare()
        process = self.context.Process(target=work, args=(run, self.packages))
        # Networks of this size run best on one thread, and each run has one.
        with mock.patch.dict(os.environ, OMP_NUM_THREADS="1"):
            process.start()
        self.processes.append((run, process))

    def _failure(self, run: Run, process: BaseProcess) -> str | None:
        """Why a run failed, in one line; ``None``: it is finished."""
        if process.exitcode == 0 and run.is_finished():
            return None
        log = run.folder / LOG
        lines = log.read_text(errors="replace").split("\n") if log.is_file() else []
        why = next((line.strip() for line in reversed(lines) if line.strip()), "it wrote nothing")
        if process.exitcode is not None and process.exitcode < 0:
            why = f"killed by signal {-process.exitcode}"
        return f"{why} (see {log})"
