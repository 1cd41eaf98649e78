"""A mistake in the options ends a comparison before it trains anything."""

from pathlib import Path

import pytest
from helpers.zoo import error_line


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ("--env CartPol-v1", "unknown environment 'CartPol-v1': did you mean CartPole-v1?"),
        ("--env CartPole-v1 --algos tdac reinforce", "unknown algorithm 'reinforce': choose from"),
        ("--env CartPole-v1 --algos a2c a2c", "algorithm 'a2c' is named twice"),
        ("--env Blackjack-v1 --algos a2c-gea_lambda=0", "did you mean gae_lambda?"),
        ("--from x y", "--out is needed if --from names several folders"),
        ("--env CartPole-v1 --seeds 0", "--seeds: must be at least 1, got 0"),
        ("--env CartPole-v1 --first-seed -1", "--first-seed: must be at least 0, got -1"),
        ("--env CartPole-v1 --workers 0", "--workers: must be at least 1, got 0"),
        ("--env CartPole-v1 --threshold x", "--threshold x: 'x' is no number"),
        ("--env CartPole-v1 Pendulum-v1 --threshold 5", "--threshold 5: use ENV=NUMBER"),
        ("--from nowhere", "nowhere has no comparison"),
        ("", "--env is needed, or --from"),
    ],
)
def test_mistakes_are_said_in_one_line_before_any_training(
    options: str, said: str, here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert said in error_line(capsys, "compare", "-n", "100", *options.split())
    assert list(here.iterdir()) == []
