"""Helpers of the tests of the command line; rl_zoo3 is imported where it is needed."""

from pathlib import Path

import pandas as pd
import pytest

from sb3_tdac.zoo.cli import main

#: Two algorithms on two environments: eight short runs, and the files that they leave.
ENVS = ["CartPole-v1", "Pendulum-v1"]
COMPARE = ["compare", "--env", *ENVS, "--algos", "tdac", "a2c"]
COMPARE += "-n 200 --eval-freq 100 --eval-episodes 2 --seeds 2 --workers 2".split()
OUT = Path("logs") / "compare" / "200_steps"

#: A comparison by hand. Ranges: random policy 0, best evaluations 10 on A and 20 on B.
X = [[0.0, 2.0, 6.0], [0.0, 8.0, 10.0]], [[0.0, 0.0, 20.0], [0.0, 0.0, 10.0]]
Y = [[0.0, 1.0, 2.0], [0.0, 1.0, 7.0]], [[0.0, 1.0, 4.0], [0.0, 1.0, 4.0]]
BY_HAND = {("A", "tdac"): X[0], ("B", "tdac"): X[1], ("A", "ppo"): Y[0], ("B", "ppo"): Y[1]}
SECONDS_APART = {"tdac": 2.0, "ppo": 3.0}


def error_line(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    """The error of a failing command: one line that starts with the program's name.

    argparse writes its usage before that line, nothing else may come there.

    :param capsys: fixture
    :param arguments: command and its options
    """
    assert main(arguments) in (1, 2)
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1 or lines[0].startswith("usage: ")
    assert lines[-1].startswith("sb3-tdac")
    return lines[-1]


def section(text: str, title: str) -> str:
    """The text under a title of Markdown."""
    return text.split(f"## {title}\n")[1].split("\n## ")[0]


def table(text: str, title: str) -> dict[str, dict[str, str]]:
    """Cells of the table under a title, by first cell and column; repeated columns get a number."""
    lines = section(text, title).splitlines()
    head, _, *rows = [[c.strip() for c in x.split("|")[1:-1]] for x in lines if x.startswith("|")]
    names = [f"{name}{head[:i].count(name) or ''}" for i, name in enumerate(head)]
    return {row[0]: dict(zip(names, row, strict=True)) for row in rows}


def write_comparison(
    folder: Path, returns: dict[tuple[str, str], list[list[float]]], seconds: dict[str, float]
) -> None:
    """Write a comparison from returns per (environment, algorithm), seed and evaluation.

    Each evaluation has one episode, 10 steps and ``seconds`` of the algorithm after the last one.
    """
    from sb3_tdac.zoo.compare.comparison import COLUMNS, Comparison

    rows = []
    for (env, algo), seeds in returns.items():
        for seed, curve in enumerate(seeds):
            for i, value in enumerate(curve):
                known = {"env": env, "algo": algo, "seed": seed, "episode": 0}
                times = {"step": 10 * i, "timesteps": 10 * i, "seconds": 99.0}
                known |= times | {"cpu_seconds": seconds[algo] * i}
                for mode, less in (("deterministic", 0), ("stochastic", 1)):
                    rows.append({**known, "mode": mode, "return": value - less})
    envs, algos = (list(dict.fromkeys(names)) for names in zip(*returns, strict=True))
    zero = dict.fromkeys(envs, 0.0)
    record = Comparison(algos, envs, ["by hand"], dict.fromkeys(envs, 6.0), zero)
    record.evaluations = pd.DataFrame(rows)[COLUMNS]
    record.write(folder)
