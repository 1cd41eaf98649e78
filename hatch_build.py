"""Compiles the kernels of the fast path into the wheel.

Without a compiler the package is complete all the same: TDAC then trains on the general path.
Tried on Linux only; macOS takes the same way, Windows gets no kernels.
"""

import hashlib
import os
import shutil
import subprocess
import sys
import sysconfig
import zlib
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface
from packaging.tags import mac_platforms

FOLDER = Path("sb3_tdac", "fast")
LIBRARY, CHECKSUM = FOLDER / "libkernels.so", FOLDER / "libkernels.sha256"
# associative sums vectorize; infinities and NaN keep their meaning
FLAGS = "-O3 -shared -fPIC -fno-math-errno -fno-trapping-math -fno-signed-zeros".split()
FLAGS.append("-fassociative-math")


def system_compiler() -> str | None:
    """Path of the C compiler: ``CC`` or an installed one; ``CC=none`` stands for no compiler."""
    names = [os.environ["CC"]] if "CC" in os.environ else ["cc", "gcc", "clang"]
    return next((path for name in names if (path := shutil.which(name))), None)


def compile_command() -> list[str] | str:
    """The compiler, or the reason why nothing can be compiled."""
    if sys.platform == "win32":
        return "its kernels are compiled on Linux and macOS only"
    if compiler := system_compiler():
        return [compiler]
    if find_spec("ziglang"):
        return [sys.executable, "-m", "ziglang", "cc"]
    return "there is no C compiler"


def platform_tag() -> str:
    """Platform of a wheel with a library that was compiled here, for this processor.

    The Python of macOS may name two processors (universal2), and an older system than the
    compiler's: what is compiled runs on the processor and the system of this machine.
    """
    platform = sysconfig.get_platform()
    if platform.startswith("macosx"):
        return next(iter(mac_platforms()))
    return platform.replace("-", "_").replace(".", "_")


class CompileKernels(BuildHookInterface):  # type: ignore[type-arg]
    """Hatch's build hook."""

    def dependencies(self) -> list[str]:
        """Name a compiler that comes as a wheel, where no other is installed."""
        has_one = system_compiler() or "CC" in os.environ or sys.platform == "win32"
        return [] if has_one else ["ziglang>=0.13"]

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Compile the kernels, and name the wheel after its platform.

        :param version: of the build, ``"standard"`` or ``"editable"``
        :param build_data: what hatch reads; changed in place
        """
        command = compile_command()
        failure = command if isinstance(command, str) else self._compile(command)
        if failure is not None:
            self.app.display_warning(f"sb3_tdac is built without its fast path: {failure}")
            return
        build_data["pure_python"] = False
        build_data["tag"] = f"py3-none-{platform_tag()}"
        build_data["artifacts"] += [LIBRARY.as_posix(), CHECKSUM.as_posix()]

    def _compile(self, compiler: list[str]) -> str | None:
        """Write the library and its checksum; return the reason if that fails."""
        folder = Path(self.root, FOLDER)
        sources = sorted(folder.glob("*.[ch]"))
        checksum = zlib.crc32(b"".join(path.read_bytes() for path in sources))
        new = folder / f"libkernels.{os.getpid()}"  # a process may have the old one loaded
        command = [*compiler, *FLAGS, f"-DSOURCE_CHECKSUM={checksum}", folder / "kernels.c"]
        if subprocess.run([*command, "-o", new, "-lm"]).returncode:
            return "compiling the kernels failed"
        Path(self.root, CHECKSUM).write_text(hashlib.sha256(new.read_bytes()).hexdigest())
        new.replace(Path(self.root, LIBRARY))
        return None
