"""The figures of README.md are those of the committed results."""

import inspect
import re
from pathlib import Path

import pandas as pd
import pytest

from sb3_tdac import TDAC
from sb3_tdac.policies import TDACPolicy
from sb3_tdac.zoo.compare.comparison import SECONDS, STEPS, Comparison
from sb3_tdac.zoo.compare.folders import joined, read
from sb3_tdac.zoo.compare.runs import DETERMINISTIC, STOCHASTIC
from sb3_tdac.zoo.compare.statistics import estimate, iqm
from sb3_tdac.zoo.compare.tables import show, spread

ROOT = Path(__file__).parents[2]
RESULTS = ROOT / "examples" / "benchmarks" / "results"
README = (ROOT / "README.md").read_text()
REPORT = (RESULTS / "compare_all" / "comparison.md").read_text()
NAMES = {
    "tdac": "TDAC",
    "tdac-defaults": "TDAC, defaults",
    "a2c": "A2C",
    "ppo": "PPO",
    "trpo": "TRPO",
}
AGGREGATES = {
    "IQM, equal steps": (DETERMINISTIC, STEPS),
    "IQM, equal steps, actions sampled": (STOCHASTIC, STEPS),
    "IQM, equal CPU time": (DETERMINISTIC, SECONDS),
}


@pytest.fixture(scope="module")
def comparison() -> Comparison:
    """All thirteen problems, from the evaluations of each run."""
    folders = [RESULTS / "compare", RESULTS / "compare_locomotion"]
    return joined([read(folder) for folder in folders], None, [*NAMES])


def number(value: float, digits: int = 1) -> str:
    """Write a number as the front page does: with a minus sign, and without -0."""
    text = f"{value:.{digits}f}"
    return text.lstrip("-") if float(text) == 0 else text.replace("-", "\N{MINUS SIGN}")


def returns(comparison: Comparison, env: str, algo: str) -> str:
    values = comparison.column(comparison.at(), env, algo)
    return f"{number(values.mean())} ± {number(values.std())}"


def aggregate(comparison: Comparison, algo: str, mode: str, clock: str) -> str:
    return show(estimate(iqm, *comparison.scores(comparison.at(mode, clock), algo)))


def cpu_seconds(comparison: Comparison, env: str, algo: str) -> str:
    curves = comparison.curves(env, algo)
    return number(curves[curves.step == curves.step.max()].cpu_seconds.mean())


def front_page_table(comparison: Comparison) -> str:
    """Write the table of the front page."""
    rows = [["", "steps", *NAMES.values()], ["---"] * (2 + len(NAMES))]
    for env in comparison.envs:
        steps = f"{comparison.steps(env)[-1]:,}".replace(",", " ")
        rows.append([env, steps, *(returns(comparison, env, algo) for algo in NAMES)])
    for title, view in AGGREGATES.items():
        rows.append([title, "", *(aggregate(comparison, algo, *view) for algo in NAMES)])
    spent = [cpu_seconds(comparison, "Pendulum-v1", algo) for algo in NAMES]
    rows.append(["CPU seconds of training, Pendulum-v1", "", *spent])
    lines = ["|".join(["", *(f" {cell} " if cell else " " for cell in row), ""]) for row in rows]
    return "\n".join(lines).replace("| --- ", "|---").replace("--- |", "---|")


def test_the_table_is_that_of_the_evaluations(comparison: Comparison) -> None:
    expected = front_page_table(comparison)
    head = expected.splitlines()[0]
    assert README.count(head) == 1
    found = README[README.index(head) :].split("\n\n")[0]
    assert found == expected, f"README.md must have\n{expected}"


def test_the_report_that_the_page_links_has_the_same_figures(comparison: Comparison) -> None:
    cells = {tuple(line.strip("| ").split(" | ")) for line in REPORT.splitlines()}
    for env in comparison.envs:
        values = [comparison.column(comparison.at(), env, algo) for algo in NAMES]
        steps = str(comparison.steps(env)[-1])
        assert (env, steps, *(f"{spread(it)} ({len(it)})" for it in values)) in cells
    for mode, clock in AGGREGATES.values():
        for algo in NAMES:
            shown = aggregate(comparison, algo, mode, clock)
            assert any(row[:2] == (algo, mode) and row[3] == shown for row in cells)


def test_the_figures_of_the_text_are_those_of_the_results(comparison: Comparison) -> None:
    def mean(env: str, algo: str) -> str:
        return returns(comparison, env, algo).split(" ±")[0]

    def sampled(algo: str) -> str:
        return aggregate(comparison, algo, STOCHASTIC, STEPS).split(" (")[0]

    seconds = {algo: cpu_seconds(comparison, "Pendulum-v1", algo) for algo in NAMES}
    speed = pd.read_csv(RESULTS / "speed" / "speed.csv").set_index(["setting", "contender"]).speed
    one, many = (number(speed[f"Pendulum-v1 {n}x5", "TDAC fast, defaults"].item()) for n in (1, 64))
    gamma = inspect.signature(TDAC).parameters["gamma"].default
    low, _ = inspect.signature(TDACPolicy).parameters["std_bounds"].default
    failures = {
        env: mean(env, "tdac-defaults")
        for env in ("LunarLanderContinuous-v3", "Acrobot-v1", "MountainCarContinuous-v0")
    }
    lander, acrobot, car = (f"{value} on {env}" for env, value in failures.items())
    cheetah = {algo: mean("HalfCheetah-v5", algo) for algo in NAMES}
    text = re.sub(r"\s+", " ", README)
    for claim in (
        f"Pendulum-v1 takes {seconds['tdac']} CPU seconds for 100 000 steps, A2C "
        f"{seconds['a2c']}, PPO {seconds['ppo']}",
        f"{one} times as fast as A2C in one environment, {many} times in 64",
        f"The default discount is {gamma}.",
        f"PPO and TRPO lead: {cheetah['ppo']} and {cheetah['trpo']} on HalfCheetah-v5, TDAC "
        f"{cheetah['tdac']}.",
        f"Swimmer-v5 is not learned: {mean('Swimmer-v5', 'tdac')}, PPO {mean('Swimmer-v5', 'ppo')}",
        f"they get {lander}, {acrobot} and {car}.",
        f"The std stays at {low} or more: IQM {sampled('tdac')}, PPO {sampled('ppo')} (",
    ):
        assert claim in text, claim


def test_the_page_says_who_is_ahead(comparison: Comparison) -> None:
    def best(env: str) -> str:
        means = {algo: comparison.column(comparison.at(), env, algo).mean() for algo in NAMES}
        return max(means, key=lambda algo: means[algo])

    for env in re.findall(r"\S+-v\d", README.split("TDAC is the best on")[1])[:2]:
        assert best(env) == "tdac", env
    scores = {
        clock: {
            algo: float(iqm(*comparison.scores(comparison.at(clock=clock), algo))) for algo in NAMES
        }
        for clock in (STEPS, SECONDS)
    }
    assert "PPO and TRPO end higher, TDAC needs the least training time" in README.replace(
        "\n", " "
    )
    assert min(scores[STEPS]["ppo"], scores[STEPS]["trpo"]) > scores[STEPS]["tdac"]
    assert max(scores[SECONDS], key=lambda algo: scores[SECONDS][algo]) == "tdac"


def test_tdac_is_slower_than_a2c_where_the_kernels_do_not_compute() -> None:
    """Beside A2C in the same vector environment."""
    speed = pd.read_csv(RESULTS / "speed" / "speed.csv").pivot_table(
        index="setting", columns="contender", values="speed"
    )
    a2c = speed["A2C, same VecEnv"].fillna(speed["A2C"])
    assert (speed["TDAC general, defaults"] < a2c).all()
