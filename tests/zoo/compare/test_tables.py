"""Every number of the tables comes from the evaluations."""

import re
from pathlib import Path

import pandas as pd
import pytest
from helpers.zoo import BY_HAND, SECONDS_APART, section, table, write_comparison

from sb3_tdac.zoo.cli import main
from sb3_tdac.zoo.compare.comparison import COLUMNS, SECONDS, Comparison


@pytest.mark.usefixtures("without_pictures")
def test_every_number_at_equal_steps_comes_from_the_evaluations(here: Path) -> None:
    write_comparison(here, BY_HAND, SECONDS_APART)
    assert main(["compare", "--from", ".", "--threshold", "B=20"]) == 0
    text = Path("comparison.md").read_text()
    tdac, ppo = table(text, "A")["tdac"], table(text, "A")["ppo"]
    assert tdac["deterministic: mean ± std"] == "8.00 ± 2.00"
    assert tdac["IQM"] == "8.00 (6.00 … 10.00)"
    assert tdac["stochastic: mean ± std"] == "7.00 ± 2.00"
    assert tdac["IQM1"] == "7.00 (5.00 … 9.00)"
    # The threshold 6 is reached after 20 and 10 steps, 4 and 2 seconds; PPO's first seed never
    # reaches it.
    assert tdac["reached 6"] == "2 of 2"
    assert (tdac["steps to it"], tdac["seconds to it"]) == ("15", "3.0")
    assert (ppo["reached 6"], ppo["steps to it"], ppo["seconds to it"]) == ("1 of 2", "-", "-")
    assert (tdac["seconds"], tdac["steps trained"], tdac["seeds"]) == ("4.0", "20", "2")
    assert table(text, "B")["tdac"]["reached 20"] == "1 of 2"
    # Scores of TDAC: 0.6, 1 | 1, 0.5; of PPO: 0.2, 0.7 | 0.2, 0.2
    equal_steps = section(text, "At equal steps")
    found = re.findall(
        r"\| (\w+) \| deterministic \| 4 \| (\S+) .*?\| (\S+) .*?\| (\S+) .*?\| (\S+) ", equal_steps
    )
    assert found[0] == ("tdac", "0.800", "0.775", "0.775", "0.225")
    assert found[1] == ("ppo", "0.200", "0.325", "0.325", "0.675")
    # Pairs: 6 > 2, 6 < 7, 10 > both: 3/4; 20 and 10 > 4: 1
    assert re.findall(r"\| tdac over ppo \| (\S+) .* (\d of \d) \|$", equal_steps, re.M) == [
        ("0.875", "2 of 2")
    ]
    assert "| A | 20 | 8.00 ± 2.00 (2) | 4.50 ± 2.50 (2) |" in equal_steps
    assert table(text, "Normalisation")["B"]["score 1"] == "20.00"


@pytest.mark.usefixtures("without_pictures")
def test_at_equal_time_the_slower_one_counts_with_what_it_had_by_then(here: Path) -> None:
    write_comparison(here, BY_HAND, SECONDS_APART)
    # TDAC took 4 seconds; PPO was evaluated after 0, 3 and 6.
    assert main(["compare", "--from", "."]) == 0
    found = section(Path("comparison.md").read_text(), "At equal training time")
    assert "| A | 4.0 | 8.00 ± 2.00 (20) | 1.00 ± 0.00 (10) |" in found
    assert "| B | 4.0 | 15.00 ± 5.00 (20) | 1.00 ± 0.00 (10) |" in found
    # Scores of PPO: 0.1, 0.1 | 0.05, 0.05; one less with sampled actions: 0
    assert "| ppo | deterministic | 4 | 0.075 (" in found
    assert "| ppo | stochastic | 4 | 0.000 (" in found
    # The other way round PPO has 6 seconds, and TDAC was ready.
    assert main("compare --from . --algos ppo tdac --out y".split()) == 0
    found = section(Path("y/comparison.md").read_text(), "At equal training time")
    assert "| A | 6.0 | 4.50 ± 2.50 (20) | 8.00 ± 2.00 (20) |" in found
    assert "| ppo over tdac |" in found and "| 0 of 2 |" in found


def test_the_reference_counts_with_all_its_steps_though_half_its_seeds_took_longer() -> None:
    rows = [("A", "tdac", seed, 10 * i, (seed + 1) * i) for seed in range(3) for i in (0, 1)]
    table = pd.DataFrame(rows, columns=["env", "algo", "seed", "step", "cpu_seconds"])
    table = table.assign(timesteps=table.step, seconds=0.0, mode="deterministic", episode=0)
    comparison = Comparison(["tdac"], ["A"])
    comparison.evaluations = table.assign(**{"return": table.step})[COLUMNS]
    assert comparison.budgets[SECONDS] == {"A": 2.0}
    assert comparison.column(comparison.at(clock=SECONDS), "A", "tdac").tolist() == [10, 10, 10]
    assert comparison.column(comparison.at(clock=SECONDS, share=0.9), "A", "tdac").sum() == 0


def test_one_environment_one_seed_and_one_algorithm_are_enough(here: Path) -> None:
    write_comparison(here, {("A", "a2c"): [[1.0, 2.0]]}, {"a2c": 1.0})
    assert main(["compare", "--from", "."]) == 0
    text = Path("comparison.md").read_text()
    assert table(text, "A")["a2c"]["IQM"] == "2.00"
    assert "| a2c | stochastic | 1 | 0.500 | 0.500 | 0.500 |" in text
    assert "improvement" not in text


@pytest.mark.usefixtures("without_pictures")
def test_a_seed_that_is_missing_on_one_environment_counts_on_the_others(here: Path) -> None:
    # Ranges 0 to 10 on both
    returns = {("A", "tdac"): [[0.0, 0.0], [0.0, 0.0], [0.0, 10.0]]}
    write_comparison(here, returns | {("B", "tdac"): [[0.0, 10.0], [0.0, 6.0]]}, SECONDS_APART)
    assert main(["compare", "--from", "."]) == 0
    text = Path("comparison.md").read_text()
    assert table(text, "A")["tdac"]["deterministic: mean ± std"] == "3.33 ± 4.71"
    assert (table(text, "A")["tdac"]["seeds"], table(text, "B")["tdac"]["seeds"]) == ("3", "2")
    # Means of the environments: 1/3 and 0.8
    assert re.search(r"\| tdac \| deterministic \| 5 \|.*\| 0.567 \(", text)


def test_an_environment_that_one_contender_lacks_is_named(here: Path) -> None:
    write_comparison(here, BY_HAND | {("C", "tdac"): [[0.0, 1.0]]}, SECONDS_APART)
    assert main(["compare", "--from", "."]) == 0
    text = Path("comparison.md").read_text()
    assert "C is not in the aggregates: no run of ppo finished." in text
    assert "on 2 of 3 environments" in text
    assert table(text, "C")["ppo"]["seeds"] == "0"
