"""TDAC's update for small MLPs on a CPU: compiled kernels on the memory of torch's parameters.

Nothing else needs this folder: without it TDAC computes the same by autograd, slower.
``tests/fast`` holds that both give the same numbers.
"""

import torch

from sb3_tdac.fast import library
from sb3_tdac.fast.coverage import why_not
from sb3_tdac.fast.learner import KernelLearner as KernelLearner
from sb3_tdac.normalization import RunningRootMeanSquare
from sb3_tdac.policies import TDACPolicy


def choose(
    policy: TDACPolicy,
    advantage_stats: RunningRootMeanSquare,
    n_steps: int,
    n_envs: int,
    generator: torch.Generator,
) -> KernelLearner | str:
    """Make a learner of compiled kernels, where these compute what autograd would.

    :param policy: actor and critic
    :param advantage_stats: running scale of the advantage
    :param n_steps: steps of each environment between updates
    :param n_envs: number of environments
    :param generator: of the noise of actions
    :return: the learner, or the reason why there is none
    """
    kernels = why_not(policy, advantage_stats, n_steps * n_envs) or library.load()
    if isinstance(kernels, str):
        return kernels
    return KernelLearner(kernels, policy, advantage_stats, n_steps, n_envs, generator)
