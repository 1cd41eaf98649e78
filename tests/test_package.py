"""The wheel holds what a user needs and nothing else."""

import subprocess
import sys
import zipfile
from pathlib import Path

import yaml

import sb3_tdac

ROOT = Path(__file__).parent.parent


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
