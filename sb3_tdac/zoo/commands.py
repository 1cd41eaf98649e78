"""The commands that are rl_zoo3's own, with TDAC as the default algorithm.

Our options come before the user's, so that the user's count.
"""

import argparse
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from sb3_tdac.zoo import ALGO, register, rl_zoo3_fixes
from sb3_tdac.zoo.rl_zoo3_calls import call, run_script, train_with


def train(options: list[str]) -> None:
    """Train an agent, search hyperparameters, or continue an interrupted run.

    :param options: of rl_zoo3's ``train``, or ``--resume`` and the folder of the run
    :raises ValueError: if ``--resume`` comes with other options
    """
    register()
    from sb3_tdac.zoo.manager import ZooManager
    from sb3_tdac.zoo.resume import resume

    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    parser.add_argument("--resume", type=Path)
    run, others = parser.parse_known_args(options)
    if run.resume is None:
        train_with(ZooManager, options)
    elif others:
        raise ValueError(f"--resume uses the run's own options: remove {' '.join(others)}")
    else:
        resume(run.resume)


def enjoy(options: list[str]) -> None:
    """Watch a trained agent."""
    with rl_zoo3_fixes.hub():
        call("rl_zoo3.enjoy", "enjoy", _in_logs(options))


def record_video(options: list[str]) -> None:
    """Record a video of a trained agent."""
    run_script("rl_zoo3.record_video", _in_logs(options))


def record_training(options: list[str]) -> None:
    """Record the checkpoints of a training in one video."""
    parser = argparse.ArgumentParser(add_help=False)
    parser.add_argument("-o", "--output-folder")
    folder = parser.parse_known_args(options)[0].output_folder
    if folder is not None:  # ffmpeg would look for a relative path in that folder
        options = [*options, "-o", os.path.abspath(folder)]
    with rl_zoo3_fixes.children(), rl_zoo3_fixes.ffmpeg():
        run_script("rl_zoo3.record_training", _in_logs(options))


def benchmark(options: list[str]) -> None:
    """Evaluate all agents of a folder."""
    with rl_zoo3_fixes.children():
        run_script("rl_zoo3.benchmark", options)


def plot_train(options: list[str]) -> None:
    """Plot the training returns."""
    call("rl_zoo3.plots.plot_train", "plot_train", ["--algo", ALGO, *options])


def all_plots(options: list[str]) -> None:
    """Plot the evaluations of several runs."""
    with _needs_several_runs():
        call("rl_zoo3.plots.all_plots", "all_plots", ["--algos", ALGO, *options])


def plot_from_file(options: list[str]) -> None:
    """Plot what ``all_plots`` wrote to a file."""
    with _needs_several_runs():
        call("rl_zoo3.plots.plot_from_file", "plot_from_file", options)


def load_from_hub(options: list[str]) -> None:
    """Download an agent from the Hugging Face hub."""
    with rl_zoo3_fixes.hub():
        run_script("rl_zoo3.load_from_hub", ["--algo", ALGO, *options])


def push_to_hub(options: list[str]) -> None:
    """Upload an agent to the Hugging Face hub."""
    with rl_zoo3_fixes.hub():
        run_script("rl_zoo3.push_to_hub", ["--algo", ALGO, *options])


@contextmanager
def _needs_several_runs() -> Iterator[None]:
    """Explain rl_zoo3's error about arrays of a single run, or of single episodes."""
    try:
        yield
    except ValueError as error:
        raise ValueError(
            "rl_zoo3 cannot plot these evaluations: it needs two or more runs of each environment, "
            f"evaluated equally often, with two or more episodes ({error})"
        ) from error


def _in_logs(options: list[str]) -> list[str]:
    """Look for agents of TDAC in ``logs``, not in rl_zoo3's folder of downloaded agents."""
    parser = argparse.ArgumentParser(add_help=False)
    parser.add_argument("--algo", default=ALGO)
    is_tdac = parser.parse_known_args(options)[0].algo == ALGO
    return ["--algo", ALGO, *(["--folder", "logs"] if is_tdac else []), *options]
