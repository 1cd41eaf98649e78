"""Each command hands over to rl_zoo3's own of the same name.

rl_zoo3's options stand unchanged. Ours come first, so that a user's, which come later, win.
"""

import argparse
import importlib
import os
import runpy
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from unittest import mock

from sb3_tdac.zoo import ALGO, mends, register


def train(options: list[str], manager: Callable[..., Any] | None = None) -> None:
    """Train an agent, search hyperparameters, or go on with a run that was interrupted.

    :param options: of rl_zoo3's ``train``, or ``--resume`` and the folder of the run
    :param manager: class with the interface of rl_zoo3's ``ExperimentManager``; ``None``: ours
    :raises ValueError: if ``--resume`` comes with other options
    """
    register()
    from sb3_tdac.zoo.manager import ZooManager
    from sb3_tdac.zoo.resume import resume

    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    parser.add_argument("--resume", type=Path)
    run, others = parser.parse_known_args(options)
    if run.resume is not None:
        if others:
            raise ValueError(f"--resume takes the run's own options: remove {' '.join(others)}")
        resume(run.resume)
        return

    _train(options, manager or ZooManager)


def optimize(options: list[str], manager: Callable[..., Any]) -> None:
    """Search hyperparameters, with another manager of the experiment.

    :param options: of ``train``
    :param manager: class with the interface of rl_zoo3's ``ExperimentManager``
    """
    register()
    _train([*options, "-optimize"], manager)


def _train(options: list[str], manager: Callable[..., Any]) -> None:
    from rl_zoo3 import train as module

    with mock.patch.object(module, "ExperimentManager", manager):
        _call("rl_zoo3.train", "train", ["--algo", ALGO, *options])


def enjoy(options: list[str]) -> None:
    """Watch a trained agent."""
    with mends.hub():
        _call("rl_zoo3.enjoy", "enjoy", _of_trained_agent(options))


def record_video(options: list[str]) -> None:
    """Record a video of a trained agent."""
    _run("rl_zoo3.record_video", _of_trained_agent(options))


def record_training(options: list[str]) -> None:
    """Record the checkpoints of a training, one after the other."""
    parser = argparse.ArgumentParser(add_help=False)
    parser.add_argument("-o", "--output-folder")
    folder = parser.parse_known_args(options)[0].output_folder
    if folder is not None:  # ffmpeg looks for a relative one in itself
        options = [*options, "-o", os.path.abspath(folder)]
    with mends.own_children(), mends.ffmpeg():
        _run("rl_zoo3.record_training", _of_trained_agent(options))


def benchmark(options: list[str]) -> None:
    """Evaluate all agents of a folder."""
    with mends.own_children():
        _run("rl_zoo3.benchmark", options)


def plot_train(options: list[str]) -> None:
    """Plot the training returns."""
    _call("rl_zoo3.plots.plot_train", "plot_train", ["--algo", ALGO, *options])


def all_plots(options: list[str]) -> None:
    """Plot the evaluations of several runs."""
    with _several_runs_needed():
        _call("rl_zoo3.plots.all_plots", "all_plots", ["--algos", ALGO, *options])


def plot_from_file(options: list[str]) -> None:
    """Plot what ``all_plots`` wrote."""
    with _several_runs_needed():
        _call("rl_zoo3.plots.plot_from_file", "plot_from_file", options)


def load_from_hub(options: list[str]) -> None:
    """Download an agent."""
    with mends.hub():
        _run("rl_zoo3.load_from_hub", ["--algo", ALGO, *options])


def push_to_hub(options: list[str]) -> None:
    """Upload an agent."""
    with mends.hub():
        _run("rl_zoo3.push_to_hub", ["--algo", ALGO, *options])


@contextmanager
def _several_runs_needed() -> Iterator[None]:
    """rl_zoo3's arrays lose an axis where there is one run, or one episode in an evaluation."""
    try:
        yield
    except ValueError as error:
        raise ValueError(
            "rl_zoo3 cannot plot these evaluations: it needs two or more runs of each environment, "
            f"evaluated equally often, with two or more episodes ({error})"
        ) from error


def _of_trained_agent(options: list[str]) -> list[str]:
    """rl_zoo3 looks for agents among those that it can download; there are none of TDAC."""
    parser = argparse.ArgumentParser(add_help=False)
    parser.add_argument("--algo", default=ALGO)
    is_tdac = parser.parse_known_args(options)[0].algo == ALGO
    return ["--algo", ALGO, *(["--folder", "logs"] if is_tdac else []), *options]


def _call(module: str, function: str, arguments: list[str]) -> None:
    """Call a command of rl_zoo3 that is a function without arguments."""
    register()
    run = getattr(importlib.import_module(module), function)
    with mock.patch.object(sys, "argv", [f"sb3-tdac {function}", *arguments]):
        run()


def _run(module: str, arguments: list[str]) -> None:
    """Run a command of rl_zoo3 that is a script."""
    register()
    name = module.rpartition(".")[2]
    sys.modules.pop(module, None)  # runpy warns of one that was imported before
    with mock.patch.object(sys, "argv", [f"sb3-tdac {name}", *arguments]):
        runpy.run_module(module, run_name="__main__")
