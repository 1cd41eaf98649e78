"""``sb3-tdac``: finds the command, runs it, and reports its error in one line."""

import importlib
import sys
import textwrap
from collections.abc import Callable, Sequence

from sb3_tdac.zoo.messages import describe, did_you_mean

#: Command: what it does, and the module and function that take the rest of the command line.
COMMANDS = {
    "train": ("train an agent, or continue an interrupted run: --resume RUN", "commands:train"),
    "sweep": ("search hyperparameters with several processes", "sweep.command:sweep"),
    "compare": ("train several algorithms, with statistics", "compare.command:compare"),
    "enjoy": ("watch a trained agent", "commands:enjoy"),
    "record_video": ("record a video of a trained agent", "commands:record_video"),
    "record_training": ("record all checkpoints in one video", "commands:record_training"),
    "benchmark": ("evaluate all trained agents of a folder", "commands:benchmark"),
    "plot_train": ("plot the training returns", "commands:plot_train"),
    "all_plots": ("plot the evaluations of several runs, with a table", "commands:all_plots"),
    "plot_from_file": ("plot what all_plots wrote to a file", "commands:plot_from_file"),
    "load_from_hub": ("download an agent from the Hugging Face hub", "commands:load_from_hub"),
    "push_to_hub": ("upload an agent to the Hugging Face hub", "commands:push_to_hub"),
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command.

    :param arguments: command and its options; ``None``: the command line's
    :return: exit status: 0, or 1 if the command failed, or 2 if it was misspelt
    """
    command, *options = list(sys.argv[1:] if arguments is None else arguments) or ["--help"]
    if command in ("-h", "--help"):
        print(usage())
        return 0
    if command not in COMMANDS:
        hint = did_you_mean(command, COMMANDS, "see sb3-tdac --help")
        return _complain("sb3-tdac", f"there is no command {command!r}: {hint}", status=2)
    return _run(command, options)


def usage() -> str:
    """The help of ``sb3-tdac``, with one line for each command."""
    width = max(map(len, COMMANDS))
    lines = [f"  {name:{width}}  {text}" for name, (text, _) in COMMANDS.items()]
    head = """\
        usage: sb3-tdac COMMAND [OPTIONS]

        The commands of rl_zoo3, with TDAC as one more algorithm and as the default (--algo tdac).
        Each takes the options of rl_zoo3's command: sb3-tdac COMMAND --help.
        An error is one line; for its traceback: python -X dev -m sb3_tdac.zoo COMMAND ...
        """
    return "\n".join([textwrap.dedent(head), *lines])


def _run(command: str, options: list[str]) -> int:
    module, function = COMMANDS[command][1].split(":")
    try:
        run: Callable[[list[str]], int | None]
        run = getattr(importlib.import_module(f"sb3_tdac.zoo.{module}"), function)
        return run(options) or 0
    except SystemExit as stop:  # argparse has printed the reason
        return stop.code if isinstance(stop.code, int) else int(stop.code is not None)
    except KeyboardInterrupt:
        return _complain(f"sb3-tdac {command}", "interrupted", status=130)
    except Exception as error:
        if sys.flags.dev_mode:  # python -X dev
            raise
        return _complain(f"sb3-tdac {command}", describe(error), status=1)


def _complain(who: str, what: str, status: int) -> int:
    print(f"{who}: error: {what}", file=sys.stderr)
    return status
