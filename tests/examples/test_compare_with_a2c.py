"""``compare_with_a2c.py`` evaluates all at the same steps, and writes table, curves and file."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import compare_with_a2c
import matplotlib.image
import pandas as pd
import pytest
from helpers.scripts import call_main
from stable_baselines3 import PPO


@pytest.fixture(scope="module")
def comparison(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Threads instead of processes, and rollouts of PPO that are only longer than an evaluation."""
    out = tmp_path_factory.mktemp("compare")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(compare_with_a2c, "ProcessPoolExecutor", ThreadPoolExecutor)
        patch.setitem(compare_with_a2c.ALGORITHMS, "PPO", (PPO, {"n_steps": 64}))
        call_main(
            compare_with_a2c,
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
    curves = pd.read_csv(comparison / "evaluations.csv")
    rows = [line.split("|") for line in (comparison / "table.md").read_text().splitlines()[2:]]
    assert [row[1].strip() for row in rows] == ["TDAC", "A2C", "A2C, gae_lambda=0", "PPO"]
    last = curves[(curves.timesteps == 200) & (curves.algorithm == "TDAC")]["return"]
    figures = [float(rows[0][column]) for column in (2, 4, 5)]
    assert figures == pytest.approx([last.mean(), last.min(), last.max()], abs=0.051)
    assert matplotlib.image.imread(comparison / "curves.png").std() > 0
