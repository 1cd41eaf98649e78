"""The wheel holds what a user needs and nothing else."""

import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
import yaml

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
    assert {"sb3_tdac/py.typed", "sb3_tdac/tdac.py", "sb3_tdac/zoo_configs/tdac.yml"} <= names
    assert not any(name.startswith(("tests/", "examples/")) for name in names)


def test_every_zoo_configuration_is_taken_by_the_constructor() -> None:
    for path in sorted((ROOT / "zoo_configs").glob("*.yml")):
        for env_id, entry in yaml.safe_load(path.read_text()).items():
            zoo_keys = {"n_envs", "n_timesteps", "policy", "normalize", "env_wrapper"}
            options = {key: value for key, value in entry.items() if key not in zoo_keys}
            model = sb3_tdac.TDAC(entry["policy"], env_id, **options)
            assert entry["n_timesteps"] > 0 and model.n_envs == 1
