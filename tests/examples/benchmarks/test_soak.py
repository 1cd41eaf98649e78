"""``soak.py`` writes memory, handles and processes during training, and leaks of them."""

from pathlib import Path

import matplotlib.image
import pandas as pd
import pytest
from helpers.scripts import run


@pytest.mark.serial
def test_a_soak_writes_what_it_measured(tmp_path: Path) -> None:
    run("benchmarks/soak.py", "--timesteps", "4096", "--samples", "2", "--out", str(tmp_path))
    rows = pd.read_csv(tmp_path / "soak.csv")
    assert rows["steps"].tolist() == [2048, 4096]
    assert (rows["handles"].nunique(), rows["processes"].max()) == (1, 0)
    assert rows["own"].max() < rows["resident"].max() and (rows["cpu_seconds"] > 0).all()
    lines = [line.split("|") for line in (tmp_path / "soak.md").read_text().splitlines()]
    table = {line[1].strip(): line[2].strip() for line in lines}
    for kind in ("file handles", "processes"):  # torch may start a thread late, and keep it
        assert table[f"{kind} not given back"] == "0"
    assert matplotlib.image.imread(tmp_path / "soak.png").std() > 0
