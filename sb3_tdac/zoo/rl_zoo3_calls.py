"""Calls rl_zoo3's own commands, after TDAC is among its algorithms."""

import importlib
import runpy
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING

from sb3_tdac.zoo import ALGO, register
from sb3_tdac.zoo.rl_zoo3_fixes import replaced

if TYPE_CHECKING:
    from rl_zoo3.exp_manager import ExperimentManager


def train_with(manager: "Callable[..., ExperimentManager]", options: list[str]) -> None:
    """Run rl_zoo3's ``train`` with another manager of the experiment.

    :param manager: class with the interface of rl_zoo3's ``ExperimentManager``
    :param options: of rl_zoo3's ``train``
    """
    register()
    from rl_zoo3 import train as module

    # rl_zoo3's function takes no arguments: it makes the class that its module names.
    with replaced(module, "ExperimentManager", manager):
        call("rl_zoo3.train", "train", ["--algo", ALGO, *options])


def call(module: str, function: str, arguments: list[str]) -> None:
    """Call a command of rl_zoo3 that is a function; it reads its options from ``sys.argv``.

    :param module: name of its module
    :param function: its name
    :param arguments: its options
    """
    register()
    run = getattr(importlib.import_module(module), function)
    with replaced(sys, "argv", [f"sb3-tdac {function}", *arguments]):
        run()


def run_script(module: str, arguments: list[str]) -> None:
    """Run a command of rl_zoo3 that is a script; it reads its options from ``sys.argv``.

    :param module: name of the script's module
    :param arguments: its options
    """
    register()
    name = module.rpartition(".")[2]
    sys.modules.pop(module, None)  # runpy warns if the module was imported before
    with replaced(sys, "argv", [f"sb3-tdac {name}", *arguments]):
        runpy.run_module(module, run_name="__main__")
