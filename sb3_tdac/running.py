"""Running mean and std, for observations (in the policy) and for returns (in the algorithm)."""

import math
from collections.abc import Mapping
from typing import Any

import torch
from gymnasium import spaces
from stable_baselines3.common.preprocessing import is_image_space
from stable_baselines3.common.type_aliases import PyTorchObs
from torch import Tensor, nn

EPSILON = 1e-8
CLIP = 10.0


class RunningMeanStd(nn.Module):
    """Mean and variance of all rows seen so far, as buffers: they are saved with the parameters.

    The update is the parallel form of Chan, Golub and LeVeque (1979). As in SB3's ``VecNormalize``,
    it starts from mean 0 and variance 1 with the weight of ``1e-4`` rows, and what is normalized is
    clipped to [-10, 10].

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
        """Standard deviation of what was seen, of the shape of one row; never zero."""
        return torch.sqrt(self.var + EPSILON)

    @property
    def root_mean_square(self) -> Tensor:
        """Root of the mean square of what was seen, of the shape of one row; never zero."""
        return torch.sqrt(self.var + self.mean**2 + EPSILON)

    @torch.no_grad()
    def update(self, rows: Tensor) -> None:
        """Take rows into account.

        :param rows: (B, *shape)
        """
        total = self.count + len(rows)
        delta = rows.mean(dim=0) - self.mean
        weight = len(rows) / total
        between = delta**2 * self.count * weight
        within = rows.var(dim=0, correction=0) * len(rows)
        self.var.copy_((self.var * self.count + within + between) / total)
        self.mean.add_(delta * weight)
        self.count.copy_(total.clamp(max=self.memory))

    def normalize(self, rows: Tensor) -> Tensor:
        """Shift and divide, then clip to [-10, 10].

        :param rows: (B, *shape)
        :return: (B, *shape)
        """
        return ((rows - self.mean) / self.std).clamp(-CLIP, CLIP)


class RunningRootMeanSquare(nn.Module):
    """Root of an exponential moving average of squares, for the advantage.

    The average forgets with a factor 0.99 an update, and is corrected for its start at zero as Adam
    corrects its own (Kingma and Ba, 2015).
    """

    DECAY = 0.99
    mean_square: Tensor
    weight: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("mean_square", torch.tensor(0.0))
        self.register_buffer("weight", torch.tensor(0.0))

    @torch.no_grad()
    def scale(self, rows: Tensor) -> Tensor:
        """Take a batch into account and divide it by the root mean square.

        :param rows: (B,)
        :return: (B,)
        """
        self.mean_square.lerp_((rows**2).mean(), 1 - self.DECAY)
        self.weight.lerp_(torch.ones_like(self.weight), 1 - self.DECAY)
        return rows / (torch.sqrt(self.mean_square / self.weight) + EPSILON)


class ObservationNormalizer(nn.Module):
    """Running mean and std of every ``Box`` of an observation; images stay as they are.

    :param observation_space: space of one observation, a ``Dict`` or a single space
    """

    def __init__(self, observation_space: spaces.Space[Any]):
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
    """Entries of a dict of observations, or of a ``Dict`` space; a single one under a name."""
    if isinstance(obs, spaces.Dict):
        return dict(obs.spaces)
    return obs if isinstance(obs, dict) else {"observation": obs}
