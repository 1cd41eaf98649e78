"""Which models the fast path computes as autograd would, and whether it still has their weights."""

from operator import is_
from typing import Any

import torch
from gymnasium import spaces
from stable_baselines3.common.distributions import CategoricalDistribution
from stable_baselines3.common.preprocessing import is_image_space
from stable_baselines3.common.torch_layers import FlattenExtractor, MlpExtractor
from torch import Tensor, nn

from sb3_tdac.base import TwoOptimizerAlgorithm
from sb3_tdac.policies import TDACPolicy

#: Above these, measured, torch is faster.
MAX_ROWS, MAX_WIDTH = 512, 128
OPTIMIZERS = ("optimizer", "critic_optimizer")
HOOKS = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")


def why_not(model: TwoOptimizerAlgorithm) -> str | None:
    """The reason why a model needs the general path.

    :param model: with its policy
    :return: ``None`` if the fast path computes the same
    """
    policy = model.policy
    if type(policy) is not TDACPolicy:
        return f"policy is a {type(policy).__name__}, not the MlpPolicy"
    space = model.observation_space
    if not isinstance(space, spaces.Box) or is_image_space(space, check_channels=False):
        return f"observations are not vectors: {space}"
    if not isinstance(model.action_space, spaces.Box | spaces.Discrete):
        return f"actions are neither Box nor Discrete: {model.action_space}"
    if isinstance(model.action_space, spaces.Discrete):
        if type(policy.action_dist) is not CategoricalDistribution:
            return "the distribution is not SB3's categorical one"
    return _why_not_networks(model) or _why_not_optimizers(model)


def _why_not_networks(model: TwoOptimizerAlgorithm) -> str | None:
    policy = model.policy
    extractors = (policy.pi_features_extractor, policy.vf_features_extractor)
    if any(type(extractor) is not FlattenExtractor for extractor in extractors):
        return "the features extractor is not SB3's FlattenExtractor"
    if type(policy.mlp_extractor) is not MlpExtractor:
        return f"mlp_extractor is a {type(policy.mlp_extractor).__name__}, not SB3's"
    for hidden in (policy.mlp_extractor.policy_net, policy.mlp_extractor.value_net):
        layers = [*hidden] if type(hidden) is nn.Sequential else [hidden]
        if not (
            all(type(layer) is nn.Linear for layer in layers[0::2])
            and all(type(layer) in (nn.Tanh, nn.ReLU) for layer in layers[1::2])
        ):
            return "hidden layers are not Linear with Tanh or ReLU"
    modules = [*policy.modules()]
    linear = [module for module in modules if type(module) is nn.Linear]
    if any(type(head) is not nn.Linear for head in _heads(policy)):
        return "the output layers are not Linear"
    if any(layer.bias is None for layer in linear):
        return "a layer has no bias"
    if max(layer.out_features for layer in linear) > MAX_WIDTH:
        return f"a layer is wider than {MAX_WIDTH}"
    if model.n_steps * model.n_envs > MAX_ROWS:
        return f"n_steps * n_envs is more than {MAX_ROWS}"
    if any(getattr(module, name, None) for module in modules for name in HOOKS):
        return "a layer has hooks"
    tensors = [*policy.parameters(), *policy.buffers()]
    if any(t.device.type != "cpu" or t.dtype != torch.float32 for t in tensors):
        return "the policy is not float32 on a CPU"
    if not all(t.is_contiguous() for t in tensors):
        return "a parameter is not contiguous"
    return None


def _why_not_optimizers(model: TwoOptimizerAlgorithm) -> str | None:
    policy = model.policy
    extractor = policy.mlp_extractor
    actor, critic = _heads(policy)[:-1], [policy.value_net]
    for name, optimizer, modules in (
        ("optimizer", policy.optimizer, [extractor.policy_net, *actor]),
        ("critic_optimizer", policy.critic_optimizer, [extractor.value_net, *critic]),
    ):
        expected = [id(p) for module in modules for p in module.parameters()]
        if len(optimizer.param_groups) != 1:
            return f"{name} has more than one group of parameters"
        parameters: list[Tensor] = optimizer.param_groups[0]["params"]
        if sorted(map(id, parameters)) != sorted(expected):
            return f"{name} has other parameters than its network"
        if not all(p.requires_grad and not p._backward_hooks for p in parameters):
            return "a parameter is frozen or has hooks"
    return None


def _heads(policy: TDACPolicy) -> list[nn.Module]:
    """Output layers of the actor, and of the critic last."""
    std = [policy.std_net] if isinstance(policy.action_space, spaces.Box) else []
    return [policy.action_net, *std, policy.value_net]


class Anchors:
    """What the arrays of the fast path were taken from.

    :param model: with its policy
    """

    def __init__(self, model: TwoOptimizerAlgorithm):
        policy = model.policy
        modules = [*policy.modules()]
        self.hooks = [getattr(module, name) for module in modules for name in HOOKS]
        places: list[tuple[dict[str, Any], str, Any]] = [(vars(model), "policy", policy)]
        places += [(vars(policy), name, vars(policy)[name]) for name in OPTIMIZERS]
        for module in modules:
            for part in (module._modules, module._parameters, module._buffers):
                places += [(part, name, thing) for name, thing in part.items()]
        self.owners, self.names, self.things = zip(*places, strict=True)
        self.tensors = [thing for thing in self.things if isinstance(thing, Tensor)]
        self.addresses = self._addresses()

    def _addresses(self) -> list[int]:
        return [*map(Tensor.data_ptr, self.tensors)]

    def hold(self) -> bool:
        """Whether everything is still in its place; written for speed, it is asked at every step."""
        return (
            all(map(is_, map(dict.get, self.owners, self.names), self.things))
            and self._addresses() == self.addresses
            and not any(self.hooks)
        )
