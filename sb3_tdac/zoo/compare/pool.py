"""The pool of worker processes that train the runs of a comparison."""

from multiprocessing.connection import wait
from multiprocessing.process import BaseProcess

from sb3_tdac.zoo.compare.runs import DETERMINISTIC, LOG, Run
from sb3_tdac.zoo.compare.worker import work
from sb3_tdac.zoo.progress import ProgressDisplay
from sb3_tdac.zoo.workers import PAUSE, new_process


class Pool:
    """Trains runs in processes of one thread each.

    :param packages: modules that register environments
    """

    def __init__(self, workers: int, packages: list[str]):
        self.workers, self.packages = workers, packages
        self.processes: list[tuple[Run, BaseProcess]] = []
        self.failures: list[tuple[Run, str]] = []
        self.ended = 0  # evaluations of ended runs

    def train(self, runs: list[Run]) -> list[tuple[Run, str]]:
        """Train all runs, also if some of them fail.

        :return: failed runs, each with the reason
        """
        waiting = list(runs)
        total = sum(map(_n_evaluations, runs))
        try:
            with ProgressDisplay("evaluations", total, n_jobs=len(runs)) as progress:
                while waiting or self.processes:
                    while waiting and len(self.processes) < self.workers:
                        self._start(waiting.pop(0))
                    wait([process.sentinel for _, process in self.processes], timeout=PAUSE)
                    self._collect(progress)
                    running = [run for run, _ in self.processes]
                    done = self.ended + sum(len(run.evaluations()) for run in running)
                    text = f"{progress.n_ended} of {len(runs)} runs, {len(running)} running"
                    progress.show(done, f"{text}, {len(self.failures)} failed")
        finally:
            for _, process in self.processes:
                process.kill()
                process.join()
        return self.failures

    def _start(self, run: Run) -> None:
        run.prepare()
        process = new_process(work, run, self.packages)
        process.start()
        self.processes.append((run, process))

    def _collect(self, progress: ProgressDisplay) -> None:
        """Take ended processes off the list, and print a line for each."""
        for run, process in [each for each in self.processes if not each[1].is_alive()]:
            self.processes.remove((run, process))
            self.ended += _n_evaluations(run)
            failure = _failure(run, process)
            if failure is not None:
                self.failures.append((run, failure))
            progress.end_job(f"{run}: {failure or _result(run)}")


def _n_evaluations(run: Run) -> int:
    return 2 * len(run.steps)  # deterministic and stochastic


def _result(run: Run) -> str:
    """Describe the last deterministic evaluation of a finished run."""
    row = [row for row in run.evaluations() if row["mode"] == DETERMINISTIC][-1]
    mean = sum(row["returns"]) / len(row["returns"])
    return f"return {mean:.2f} after {row['timesteps']} steps in {row['cpu_seconds']:.1f} s"


def _failure(run: Run, process: BaseProcess) -> str | None:
    """Say in one line why a run failed; ``None``: it is finished."""
    if process.exitcode == 0 and run.is_finished():
        return None
    log = run.folder / LOG
    lines = log.read_text(errors="replace").split("\n") if log.is_file() else []
    why = next((line.strip() for line in reversed(lines) if line.strip()), "it wrote nothing")
    if process.exitcode is not None and process.exitcode < 0:
        why = f"killed by signal {-process.exitcode}"
    return f"{why} (see {log})"
