"""The wheel holds what a user needs and nothing else."""

import os
import re
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

import sb3_tdac

ROOT = Path(__file__).parent.parent


def wheel_of(folder: Path, **environment: str) -> tuple[str, set[str]]:
    """Name and files of a wheel that is built from a copy, which leaves the compiled kernels."""
    source = folder / "source"
    ignore = shutil.ignore_patterns(".*", "*.so", "__pycache__", "logs", "dist")
    shutil.copytree(ROOT, source, ignore=ignore)
    build = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(folder)]
    environment = {k: v for k, v in os.environ.items() if k != "CC"} | environment
    subprocess.run([*build, str(source)], check=True, capture_output=True, env=environment)
    (wheel,) = folder.glob("*.whl")
    return wheel.name, set(zipfile.ZipFile(wheel).namelist())


def test_the_oldest_versions_that_are_allowed_are_those_that_are_tested() -> None:
    (line,) = re.findall(r"^OLDEST := (.*)$", (ROOT / "Makefile").read_text(), re.MULTILINE)
    pins = dict(pin.split("==") for pin in line.split())
    assert set(pins) == {"stable-baselines3", "gymnasium", "numpy"}
    for name, version in pins.items():
        assert f'"{name}>={version},<' in (ROOT / "pyproject.toml").read_text()
        assert f"{name} {version}" in (ROOT / "README.md").read_text()


@pytest.mark.skipif(
    not any(map(shutil.which, ("cc", "gcc", "clang"))), reason="there is no C compiler"
)
def test_wheel_holds_the_kernels_of_its_platform(tmp_path: Path) -> None:
    name, files = wheel_of(tmp_path)
    assert "sb3_tdac/fast/libkernels.so" in files
    assert "-py3-none-" in name and not name.endswith("-any.whl")


def test_without_a_compiler_the_wheel_is_pure_python(tmp_path: Path) -> None:
    name, files = wheel_of(tmp_path, CC="none")
    assert name.endswith("-py3-none-any.whl")
    assert "sb3_tdac/fast/kernels.py" in files
    assert not any(file.endswith(".so") for file in files)


def test_wheel_holds_the_configurations_and_the_type_marker(tmp_path: Path) -> None:
    build = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(tmp_path)]
    subprocess.run([*build, str(ROOT)], check=True, capture_output=True)
    (wheel,) = tmp_path.glob("*.whl")
    names = set(zipfile.ZipFile(wheel).namelist())
    assert sb3_tdac.__version__ in wheel.name
    assert {"sb3_tdac/py.typed", "sb3_tdac/tdac.py", "sb3_tdac/zoo/cli.py"} <= names
    configurations = {f"sb3_tdac/zoo_configs/{path.name}" for path in ROOT.glob("zoo_configs/*")}
    assert len(configurations) == 2 and configurations <= names
    assert not any(name.startswith(("tests/", "examples/")) for name in names)
