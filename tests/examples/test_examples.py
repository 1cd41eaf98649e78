"""The examples run on small sizes, and what they print and write is right."""

import subprocess
import sys
from pathlib import Path

import matplotlib.image
import pandas as pd
import pytest
from PIL import Image
from stable_baselines3.common.env_util import make_vec_env

from sb3_tdac import TDAC

EXAMPLES = Path(__file__).parents[2] / "examples"


def run(script: str, *arguments: str) -> str:
    command = [sys.executable, str(EXAMPLES / script), *arguments]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def test_quickstart_leaves_model_curve_and_animation(tmp_path: Path) -> None:
    out = run("quickstart.py", "--timesteps", "800", "--n-envs", "2", "--out", str(tmp_path))
    assert "return before training: -" in out
    assert "return after training:  -" in out
    model = TDAC.load(tmp_path / "model", env=make_vec_env("Pendulum-v1", 2))
    assert model.num_timesteps == 800
    assert matplotlib.image.imread(tmp_path / "curve.png").std() > 0
    with Image.open(tmp_path / "animation.gif") as animation:
        assert animation.n_frames > 50


def test_one_update_by_hand_is_that_of_the_algorithm() -> None:
    lines = run("one_update_by_hand.py").splitlines()
    for equation in ("(4.19)", "(4.20)", "(4.21)", "(4.22)", "(4.23)", "(4.24)", "(4.26)"):
        assert any(equation in line for line in lines)
    assert float(lines[-1].split()[-1]) < 1e-6


@pytest.fixture(scope="module")
def comparison(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("compare")
    run(
        "compare_with_a2c.py",
        *("--env", "CartPole-v1", "--timesteps", "200", "--n-envs", "2"),
        *("--seeds", "2", "--evaluations", "2", "--out", str(out)),
    )
    return out


def test_comparison_evaluates_all_at_the_same_steps(comparison: Path) -> None:
    curves = pd.read_csv(comparison / "evaluations.csv")
    counts = curves.groupby(["algorithm", "timesteps"])["seed"].nunique()
    # four algorithms, evaluated twice, with two seeds
    assert len(counts) == 8
    assert (counts == 2).all()
    assert set(curves.timesteps) == {100, 200}


def test_comparison_writes_a_row_and_a_curve_for_each_algorithm(comparison: Path) -> None:
    table = (comparison / "table.md").read_text()
    for name in ("| TDAC |", "| A2C |", "| A2C, gae_lambda=0 |", "| PPO |"):
        assert name in table
    assert matplotlib.image.imread(comparison / "curves.png").std() > 0


def test_a_soak_writes_what_it_measured(tmp_path: Path) -> None:
    run("soak.py", "--timesteps", "8192", "--samples", "4", "--out", str(tmp_path))
    rows = pd.read_csv(tmp_path / "soak.csv")
    assert rows["steps"].tolist() == [2048, 4096, 6144, 8192]
    assert (rows["handles"].nunique(), rows["processes"].max()) == (1, 0)
    assert rows["own"].max() < rows["resident"].max() and (rows["cpu_seconds"] > 0).all()
    table = (tmp_path / "soak.md").read_text()
    for kind in ("file handles", "processes"):  # torch may start a thread late, and keep it
        assert f"| {kind} not given back | 0 |" in table
    assert matplotlib.image.imread(tmp_path / "soak.png").std() > 0
