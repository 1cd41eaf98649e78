"""The wheel holds what a user needs and nothing else."""

import subprocess
import sys
import zipfile
from pathlib import Path

import sb3_tdac

ROOT = Path(__file__).parent.parent


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
