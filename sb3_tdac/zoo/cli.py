"""``sb3-tdac``: the commands, and one clear line where a user's mistake ends one."""

import importlib
import sys
import textwrap
from collections.abc import Callable, Sequence
from difflib import get_close_matches

#: Command: what it does, and the module and function that take the rest of the command line.
COMMANDS = {
    "train": ("train an agent, or go on with one: --resume RUN", "commands:train"),
    "sweep": ("search hyperparameters with several processes", "sweep:sweep"),
    "compare": ("train several algorithms, with statistics", "compare:compare"),
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

#: Modules that come with the extra.
EXTRA = {
    *("rl_zoo3", "huggingface_hub", "huggingface_sb3", "imageio_ffmpeg", "matplotlib", "moviepy"),
    *(
        "optuna",
        "pandas",
        "psycopg",
        "requests",
        "rich",
        "rliable",
        "scipy",
        "seaborn",
        "sqlalchemy",
        "yaml",
    ),
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
        closest = get_close_matches(command, COMMANDS, n=1)
        hint = f"did you mean {closest[0]}?" if closest else "see sb3-tdac --help"
        return _complain("sb3-tdac", f"there is no command {command!r}: {hint}", status=2)
    return _run(command, options)


def usage() -> str:
    """The commands, one line each."""
    width = max(map(len, COMMANDS))
    lines = [f"  {name:{width}}  {text}" for name, (text, _) in COMMANDS.items()]
    head = """\
        usage: sb3-tdac COMMAND [OPTIONS]

        rl_zoo3's commands with TDAC among its algorithms, and the default one (--algo tdac).
        Options are rl_zoo3's: sb3-tdac COMMAND --help. Errors are one line;
        python -X dev -m sb3_tdac.zoo COMMAND ... shows where one comes from.
        """
    return "\n".join([textwrap.dedent(head), *lines])


def _run(command: str, options: list[str]) -> int:
    module, function = COMMANDS[command][1].split(":")
    try:
        run: Callable[[list[str]], int | None]
        run = getattr(importlib.import_module(f"sb3_tdac.zoo.{module}"), function)
        return run(options) or 0
    except SystemExit as stop:  # argparse has said why
        return stop.code if isinstance(stop.code, int) else int(stop.code is not None)
    except KeyboardInterrupt:
        return _complain(f"sb3-tdac {command}", "interrupted", status=130)
    except Exception as error:
        # Developers see where it came from: python -X dev -m sb3_tdac.zoo ...
        if sys.flags.dev_mode:
            raise
        return _complain(f"sb3-tdac {command}", describe(error), status=1)


def describe(error: Exception) -> str:
    """One line for what went wrong.

    :param error: what a command raised
    :return: its message, with its kind where that says more
    """
    if isinstance(error, ModuleNotFoundError):
        name = (error.name or "").partition(".")[0]
        if name in EXTRA:
            return f"{name} is not installed: pip install 'sb3_tdac[zoo]'"
    text = " ".join(str(error).split())
    speaking = ValueError | TypeError | AssertionError | OSError | ImportError | RuntimeError
    speaks = isinstance(error, speaking)
    return text if speaks and text else f"{type(error).__name__}: {text}"


def _complain(who: str, what: str, status: int) -> int:
    print(f"{who}: error: {what}", file=sys.stderr)
    return status
