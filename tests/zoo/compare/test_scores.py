"""Returns are normalised by a random policy and a known or the best return."""

import pandas as pd
import pytest

from sb3_tdac.zoo.compare.scores import RANGES, normalisation, random_return


def test_range_is_that_of_the_table_or_from_the_random_policy_to_the_best() -> None:
    returns = pd.DataFrame(
        [("A", "deterministic", 3.0), ("A", "deterministic", 5.0), ("A", "stochastic", 9.0)],
        columns=["env", "mode", "return"],
    )
    assert normalisation("Hopper-v5", returns, 1.0) == RANGES["Hopper-v5"]
    assert normalisation("A", returns, 1.0)[:2] == (1.0, 5.0)
    assert normalisation("A", returns, 6.0)[:2] == (3.0, 5.0)
    assert normalisation("A", returns[1:], 6.0)[:2] == (4.0, 5.0)


def test_random_policy_gets_its_mean_return() -> None:
    for env in ("CartPole-v1", "Pendulum-v1", "InvertedDoublePendulum-v5"):
        assert random_return(env) == pytest.approx(RANGES[env].low, abs=1e-3)
