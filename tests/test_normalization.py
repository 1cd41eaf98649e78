"""Running statistics against those of all rows at once."""

import numpy as np
import pytest
import torch
from stable_baselines3.common.running_mean_std import RunningMeanStd as NumpyRunningMeanStd

from sb3_tdac.normalization import RunningMeanStd, RunningRootMeanSquare

ROWS = torch.randn(60, 2, generator=torch.Generator().manual_seed(0)) * torch.tensor([3.0, 0.1]) + 5


def test_batches_give_the_mean_and_variance_of_all_rows() -> None:
    stats = RunningMeanStd((2,))
    for batch in ROWS.split([1, 7, 52]):
        stats.update(batch)
    # the start (mean 0, variance 1) has the weight of 1e-4 of 60 rows
    torch.testing.assert_close(stats.mean, ROWS.mean(0), rtol=1e-4, atol=0)
    torch.testing.assert_close(stats.var, ROWS.var(0, correction=0), rtol=1e-3, atol=1e-4)


def test_statistics_are_those_of_vec_normalize() -> None:
    stats, reference = RunningMeanStd((2,)).double(), NumpyRunningMeanStd(shape=(2,))
    for batch in ROWS.double().split([1, 7, 52]):
        stats.update(batch)
        reference.update(batch.numpy())
    np.testing.assert_allclose(stats.mean, reference.mean, rtol=1e-12)
    # SB3 starts from the float64 1e-4, the buffer from the float32 one
    np.testing.assert_allclose(stats.var, reference.var, rtol=1e-5)


def test_old_rows_are_forgotten_with_a_memory() -> None:
    """Half of the memory is new: var = (1 * 50 + 3^2 * 50) / 100 and no more weight than 100."""
    stats = RunningMeanStd((), memory=50).double()
    symmetric = torch.tensor([1.0, -1.0]).double().repeat(1000)
    stats.update(symmetric)
    stats.update(3 * symmetric[:50])
    assert stats.var.item() == pytest.approx((1 + 9) / 2, rel=1e-4)
    assert stats.count.item() == 50


def test_root_mean_square_forgets_with_a_factor_of_0_99_an_update() -> None:
    stats = RunningRootMeanSquare()
    assert stats.scale(torch.tensor([3.0, -3.0])).tolist() == pytest.approx([1.0, -1.0])
    # weights 0.99 * 0.01 and 0.01 of the squares 9 and 25
    expected = 5 / ((0.99 * 9 + 25) / 1.99) ** 0.5
    assert stats.scale(torch.tensor([5.0, -5.0])).tolist() == pytest.approx([expected, -expected])


def test_normalized_rows_have_mean_zero_and_std_one_and_are_clipped() -> None:
    stats = RunningMeanStd((2,))
    stats.update(ROWS)
    normalized = stats.normalize(ROWS)
    torch.testing.assert_close(normalized.mean(0), torch.zeros(2), rtol=0, atol=1e-2)
    torch.testing.assert_close(normalized.std(0, correction=0), torch.ones(2), rtol=0, atol=1e-2)
    assert stats.normalize(torch.tensor([[1e6, -1e6]])).tolist() == [[10.0, -10.0]]
