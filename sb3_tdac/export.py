"""The deterministic policy as a file that needs neither SB3 nor this package to run."""

import copy
import pathlib
from typing import Any

import torch
from gymnasium import spaces
from gymnasium.vector.utils import batch_space
from stable_baselines3.common.type_aliases import PyTorchObs
from stable_baselines3.common.utils import obs_as_tensor
from torch import Tensor, nn
from torch.distributions import Distribution

from sb3_tdac.policies import TDACPolicy
from sb3_tdac.sb3_adapter import TwoOptimizerAlgorithm


class DeterministicPolicy(nn.Module):
    """Maps observations of the environment to the actions that the environment takes.

    It computes what ``predict(obs, deterministic=True)`` does, as one module: preprocessing,
    normalization of the policy (not of a ``VecNormalize``), network, units and clipping.

    :param policy: the model's
    """

    low: Tensor
    high: Tensor
    half_range: Tensor
    middle: Tensor

    def __init__(self, policy: TDACPolicy):
        super().__init__()
        self.policy, space = policy, policy.action_space
        if isinstance(space, spaces.Box):
            self.register_buffer("low", torch.as_tensor(space.low[None]))
            self.register_buffer("high", torch.as_tensor(space.high[None]))
            self.register_buffer("half_range", torch.as_tensor(policy.half_range))
            self.register_buffer("middle", torch.as_tensor(policy.middle))

    def forward(self, obs: PyTorchObs) -> Tensor:
        """The most likely actions.

        :param obs: B observations, in the type of their space
        :return: (B, *action shape)
        """
        action = self.policy.get_distribution(obs).mode()
        action = action.reshape(-1, *(self.policy.action_space.shape or ()))
        if not isinstance(self.policy.action_space, spaces.Box):
            return action
        if self.policy.squash_output:
            action = action * self.half_range + self.middle
        return torch.minimum(torch.maximum(action, self.low), self.high)


def export_program(model: TwoOptimizerAlgorithm) -> torch.export.ExportedProgram:
    """The deterministic policy for ``torch.export.save``, for any number of observations.

    :param model: a ``TDAC``
    :return: program from B observations, a tensor or a dict of tensors, to (B, *action shape)
    """
    policy = copy.deepcopy(model.policy).requires_grad_(False)
    policy.set_training_mode(False)
    # two observations: with a single one, the exporter would fix the number
    obs = obs_as_tensor(batch_space(policy.observation_space, 2).sample(), policy.device)
    batch = torch.export.Dim("batch", min=1)
    sizes: Any = {key: {0: batch} for key in obs} if isinstance(obs, dict) else {0: batch}
    module = DeterministicPolicy(policy).to(policy.device)
    validating = Distribution._validate_args
    Distribution.set_default_validate_args(False)  # a look at numbers, which has no place in a file
    try:
        with torch.no_grad():
            return torch.export.export(module, (obs,), dynamic_shapes=(sizes,), strict=False)
    finally:
        Distribution.set_default_validate_args(validating)


def export_onnx(model: TwoOptimizerAlgorithm, path: str | pathlib.Path) -> None:
    """The deterministic policy as an ONNX file, for any number of observations.

    Its inputs have the names of a dict's entries, or the name ``observation``; its output is
    ``action``.

    :param model: a ``TDAC``
    :param path: file to write
    :raises ImportError: if onnx or onnxscript are not installed
    """
    try:
        import onnx  # noqa: F401
        import onnxscript  # noqa: F401
    except ImportError as error:
        raise ImportError('export_onnx needs onnx: pip install "sb3_tdac[export]"') from error
    space = model.observation_space
    names = [*space.spaces] if isinstance(space, spaces.Dict) else ["observation"]
    program = torch.onnx.export(
        export_program(model),
        input_names=names,
        output_names=["action"],
        dynamo=True,
        verbose=False,
    )
    assert program is not None
    program.save(str(path))
