"""Worker processes of a sweep or a comparison."""

import contextlib
import io
import multiprocessing
import os
import signal
import sys
from collections.abc import Callable, Iterator
from multiprocessing.process import BaseProcess
from types import FrameType

import torch

#: Seconds between two looks at what workers have done.
PAUSE = 0.5


def new_process(work: Callable[..., None], *args: object) -> BaseProcess:
    """Make a process of one thread, which is not started yet.

    :param args: arguments of ``work``
    """
    os.environ["OMP_NUM_THREADS"] = "1"  # read by libraries of the processes, which inherit it
    # Imports take longer than a short training; a fork server does them once for all processes.
    if sys.platform != "linux":
        return multiprocessing.get_context("spawn").Process(target=work, args=args)
    context = multiprocessing.get_context("forkserver")
    # The first optimizer of a process would import torch._dynamo, which takes a second.
    context.set_forkserver_preload([work.__module__, "rl_zoo3.train", "torch._dynamo"])
    return context.Process(target=work, args=args)


def become_worker(log: str) -> None:
    """Write all output of this process to a file, use one thread, and ignore Ctrl-C.

    Networks of this size train fastest on one thread. Ctrl-C reaches all processes of a terminal,
    but only the parent ends its workers.

    :param log: file of the output
    """
    with open(log, "a", buffering=1) as file:
        os.dup2(file.fileno(), sys.stdout.fileno())
        os.dup2(file.fileno(), sys.stderr.fileno())
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(line_buffering=True)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    torch.set_num_threads(1)


@contextlib.contextmanager
def on_signal(
    number: int, handler: Callable[[int, FrameType | None], object] | signal.Handlers
) -> Iterator[None]:
    """Handle a signal in another way while a block runs."""
    before = signal.signal(number, handler)
    try:
        yield
    finally:
        signal.signal(number, before)


def sigterm_interrupts() -> contextlib.AbstractContextManager[None]:
    """Let SIGTERM, which batch systems send, end this process as Ctrl-C does."""
    return on_signal(signal.SIGTERM, signal.default_int_handler)
