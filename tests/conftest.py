"""One torch thread: on networks this small a second one costs more than it brings."""

import signal
from importlib.util import find_spec
from pathlib import Path

import pytest
import torch

torch.set_num_threads(1)
# A shell starts what it runs in the background deaf to Ctrl-C, which some tests send.
signal.signal(signal.SIGINT, signal.default_int_handler)


class SkippedModule(pytest.Module):
    """A module that is not imported."""

    def collect(self) -> list[pytest.Item]:
        pytest.skip(
            "rl_zoo3 is not installed: pip install 'sb3_tdac[zoo]'", allow_module_level=True
        )


def pytest_pycollect_makemodule(
    module_path: Path, parent: pytest.Collector
) -> pytest.Module | None:
    """Skip the tests of the command line, and of what uses it, where rl_zoo3 is not installed."""
    needs_it = module_path.parent.name == "zoo" or module_path.name == "test_search_defaults.py"
    if needs_it and find_spec("rl_zoo3") is None:
        module: pytest.Module = SkippedModule.from_parent(parent, path=module_path)
        return module
    return None
