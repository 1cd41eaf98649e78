"""Running statistics: mean and std of observations, the scale of rewards and of advantages."""

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from gymnasium import spaces
from stable_baselines3.common.preprocessing import is_image_space
from stable_baselines3.common.type_aliases import PyTorchObs
from torch import Tensor, nn

from sb3_tdac.aliases import Array, Space

EPSILON = 1e-8
CLIP = 10.0
DECAY = 0.99


def update_moments(mean: Any, var: Any, count: Any, rows: Any, memory: float) -> None:
    """Update a running mean and variance in place: Chan, Golub and LeVeque (1979), parallel form.

    :param mean: (*shape) array or tensor
    :param var: (*shape), of the same kind, as all others
    :param count: () number of rows seen
    :param rows: (B, *shape)
    :param memory: limit of ``count``: beyond it older rows lose weight
    """
    total = count + len(rows)
    weight = len(rows) / total
    rows_mean = rows.sum(0) / len(rows)
    delta = rows_mean - mean
    within = ((rows - rows_mean) ** 2).sum(0) / len(rows)
    var[...] = var + weight * (within - var + delta**2 * (count / total))
    mean[...] = mean + weight * delta
    count[...] = total if memory == math.inf else min(total, memory)


def normalize_rewards(
    rewards: Array, elapsed: Array, gamma: float, returns: Array, stats: "RunningMeanStd"
) -> None:
    """Divide rewards by the root mean square of recent discounted returns, and clip to [-10, 10].

    :param rewards: (n_steps, n_envs) float32, divided in place
    :param elapsed: (n_steps, n_envs) steps since the start of the episode
    :param gamma: discount factor
    :param returns: (n_envs,) float64 discounted return of each episode so far, updated in place
    :param stats: running mean and variance of the discounted returns, float64
    """
    all_returns = np.empty_like(rewards, np.float64)
    for step, discount in enumerate(gamma * (elapsed > 0)):
        returns[:] = discount * returns + rewards[step]
        all_returns[step] = returns
    mean, var, count = stats.mean.numpy(), stats.var.numpy(), stats.count.numpy()
    update_moments(mean, var, count, all_returns.reshape(-1), stats.memory)
    scaled = rewards / math.sqrt(var + mean**2 + EPSILON)
    np.minimum(np.maximum(scaled, -CLIP), CLIP, out=rewards)


class RunningMeanStd(nn.Module):
    """Mean and variance of all rows seen so far, as buffers: they are saved with the parameters.

    As in SB3's ``VecNormalize``, it starts from mean 0 and variance 1 with the weight of ``1e-4``
    rows, and normalized rows are clipped to [-10, 10].

    :param shape: shape of one row
    :param memory: rows after which older ones are forgotten; infinite: none is
    """

    mean: Tensor
    var: Tensor
    count: Tensor

    def __init__(self, shape: tuple[int, ...], memory: float = math.inf):
        super().__init__()
        self.memory = memory
        self.register_buffer("mean", torch.zeros(shape))
        self.register_buffer("var", torch.ones(shape))
        self.register_buffer("count", torch.tensor(1e-4))

    @property
    def std(self) -> Tensor:
        """Standard deviation of the rows seen so far, of the shape of one row; never zero."""
        return torch.sqrt(self.var + EPSILON)

    @torch.no_grad()
    def update(self, rows: Tensor) -> None:
        """Take rows into account.

        :param rows: (B, *shape)
        """
        update_moments(self.mean, self.var, self.count, rows, self.memory)

    def normalize(self, rows: Tensor) -> Tensor:
        """Shift and divide, then clip to [-10, 10].

        :param rows: (B, *shape)
        :return: (B, *shape)
        """
        return ((rows - self.mean) / self.std).clamp(-CLIP, CLIP)


class RunningRootMeanSquare(nn.Module):
    """Root of an exponential moving average of squares, for the advantage.

    The average decays by 0.99 an update, and is corrected for its start at zero as in Adam (Kingma
    and Ba, 2015).
    """

    mean_square: Tensor
    weight: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("mean_square", torch.tensor(0.0))
        self.register_buffer("weight", torch.tensor(0.0))

    @torch.no_grad()
    def scale(self, rows: Tensor) -> Tensor:
        """Update the mean square with a batch, and divide the batch by its root.

        :param rows: (B,)
        :return: (B,)
        """
        mean_square, weight = self.mean_square, self.weight
        mean_square += (1 - DECAY) * ((rows**2).sum() / len(rows) - mean_square)
        weight += (1 - DECAY) * (1 - weight)
        return rows / ((mean_square / weight) ** 0.5 + EPSILON)


class ObservationNormalizer(nn.Module):
    """Running mean and std of every ``Box`` of an observation; images stay as they are.

    :param observation_space: space of one observation, a ``Dict`` or a single space
    """

    def __init__(self, observation_space: Space):
        super().__init__()
        stats = {
            key: RunningMeanStd(space.shape)
            for key, space in _named(observation_space).items()
            if isinstance(space, spaces.Box) and not is_image_space(space)
        }
        self.stats: Mapping[str, RunningMeanStd] = nn.ModuleDict(stats)  # type: ignore[assignment]

    def update(self, obs: PyTorchObs) -> None:
        """Take observations into account.

        :param obs: B observations after ``preprocess_obs``
        """
        rows = _named(obs)
        for key, stats in self.stats.items():
            stats.update(rows[key])

    def forward(self, obs: PyTorchObs) -> PyTorchObs:
        """Normalize.

        :param obs: B observations after ``preprocess_obs``
        :return: B observations
        """
        normalized = {
            key: self.stats[key].normalize(rows) if key in self.stats else rows
            for key, rows in _named(obs).items()
        }
        return normalized if isinstance(obs, dict) else normalized["observation"]


def _named(obs: Any) -> dict[str, Any]:
    """The entries of a dict of observations or a ``Dict`` space; others get a name."""
    if isinstance(obs, spaces.Dict):
        return dict(obs.spaces)
    return obs if isinstance(obs, dict) else {"observation": obs}
