"""Compile the kernels of the fast path into the wheel.

Without a compiler the package is complete all the same: TDAC then takes the general path.
"""

import os
import shutil
import subprocess
import sys
import sysconfig
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

FOLDER = Path("sb3_tdac", "fast")
SOURCE, LIBRARY = FOLDER / "kernels.c", FOLDER / "libkernels.so"
# associative sums vectorize; infinities and NaN keep their meaning
FLAGS = "-O3 -shared -fPIC -fno-math-errno -fno-trapping-math -fno-signed-zeros".split()
FLAGS.append("-fassociative-math")


def system_compiler() -> str | None:
    """Path of the C compiler: ``CC``, or what is installed; ``CC=none`` stands for no compiler."""
    names = [os.environ["CC"]] if "CC" in os.environ else ["cc", "gcc", "clang"]
    return next((path for name in names if (path := shutil.which(name))), None)


class CompileKernels(BuildHookInterface):  # type: ignore[type-arg]
    """Hatch's build hook."""

    def dependencies(self) -> list[str]:
        """Where no compiler is installed, one that comes as a wheel."""
        return [] if system_compiler() or "CC" in os.environ else ["ziglang>=0.13"]

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Compile, and give the wheel the platform's name.

        :param version: of the build, ``"standard"`` or ``"editable"``
        :param build_data: what hatch is told
        """
        compiler = system_compiler()
        command = [compiler] if compiler else [sys.executable, "-m", "ziglang", "cc"]
        if not compiler and find_spec("ziglang") is None:
            self.app.display_warning("no C compiler: sb3_tdac is built without its fast path")
            return
        library = Path(self.root, LIBRARY)
        new = library.with_suffix(f".{os.getpid()}")  # a process may have the old one loaded
        result = subprocess.run([*command, *FLAGS, Path(self.root, SOURCE), "-o", new, "-lm"])
        if result.returncode:
            self.app.display_warning("compiling failed: sb3_tdac is built without its fast path")
            return
        new.replace(library)
        platform = sysconfig.get_platform().replace("-", "_").replace(".", "_")
        build_data["pure_python"] = False
        build_data["tag"] = f"py3-none-{platform}"
        build_data["artifacts"].append(LIBRARY.as_posix())
