"""One torch thread: on networks this small a second one costs more than it brings."""

import os
import signal
from importlib.util import find_spec
from pathlib import Path

import pytest
import torch

pytest.register_assert_rewrite("helpers")
collect_ignore = ["helpers"]  # imported by name: collecting would import it a second time
torch.set_num_threads(1)
os.environ["OMP_NUM_THREADS"] = "1"  # of the processes that tests start, and of pytest-xdist's
# A shell lets programs in the background ignore Ctrl-C, which some tests send.
signal.signal(signal.SIGINT, signal.default_int_handler)


class SkippedModule(pytest.Module):
    """A test module that is skipped without being imported."""

    def collect(self) -> list[pytest.Item]:
        pytest.skip(
            "rl_zoo3 is not installed: pip install 'sb3_tdac[zoo]'", allow_module_level=True
        )


def pytest_pycollect_makemodule(
    module_path: Path, parent: pytest.Collector
) -> pytest.Module | None:
    """Skip the tests of the command line, and the tests that use it, if rl_zoo3 is missing."""
    folders = module_path.relative_to(parent.config.rootpath).parts
    needs_it = "zoo" in folders or module_path.name == "test_search_defaults.py"
    if needs_it and find_spec("rl_zoo3") is None:
        module: pytest.Module = SkippedModule.from_parent(parent, path=module_path)
        return module
    return None
