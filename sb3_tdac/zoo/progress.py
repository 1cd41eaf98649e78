"""The display of the progress of a sweep or a comparison."""

from rich.console import Console
from rich.progress import MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn


class ProgressDisplay(Progress):
    """A bar in a terminal, and a line for each job that has ended.

    :param unit: what the bar counts
    :param total: how many of them there will be
    :param n_jobs: number of jobs
    """

    def __init__(self, unit: str, total: int, n_jobs: int):
        console = Console()
        super().__init__(
            *self.get_default_columns(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TextColumn("{task.fields[text]}"),
            console=console,
            disable=not console.is_terminal,
        )
        self.n_jobs, self.n_ended = n_jobs, 0
        self.task = self.add_task(unit, total=total, text="")

    def show(self, completed: int, text: str) -> None:
        """Update the bar.

        :param completed: how many are done
        :param text: what to write beside the bar
        """
        self.update(self.task, completed=completed, text=text)

    def end_job(self, line: str) -> None:
        """Print a line about a job that has ended, above the bar."""
        self.n_ended += 1
        print(f"{self.n_ended}/{self.n_jobs}: {line}", flush=True)
