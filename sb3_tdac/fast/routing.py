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
from sb3_tdac.fast.library import load
from sb3_tdac.fast.network import ACTIVATIONS, Network
from sb3_tdac.policies import TDACPolicy

#: Above these autograd's matrix products are as fast: measured, see the README.
MAX_WIDTH, MAX_ROWS_TIMES_WIDTH = 512, 2**17
HOOKS = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")


def why_not(model: TwoOptimizerAlgorithm) -> str | None:
    """The reason why a model needs the general path.

    :param model: with its policy
    :return: ``None`` if the fast path computes the same
    """
    if load() is None:
        return "the kernels were not compiled when sb3_tdac was installed"
    if type(model.policy) is not TDACPolicy:
        return f"policy is a {type(model.policy).__name__}, not the MlpPolicy"
    checks = (_why_not_spaces, _why_not_layers, _why_not_size, _why_not_tensors)
    return next(filter(None, (check(model) for check in checks)), None)


def _why_not_spaces(model: TwoOptimizerAlgorithm) -> str | None:
    space, policy = model.observation_space, model.policy
    if not isinstance(space, spaces.Box) or is_image_space(space, check_channels=False):
        return f"observations are not vectors: {space}"
    if isinstance(model.action_space, spaces.Box):
        return None
    if type(policy.action_dist) is not CategoricalDistribution:
        return f"actions are neither Box nor Discrete: {model.action_space}"
    return None


def _why_not_layers(model: TwoOptimizerAlgorithm) -> str | None:
    policy = model.policy
    extractors = (policy.pi_features_extractor, policy.vf_features_extractor)
    if any(type(extractor) is not FlattenExtractor for extractor in extractors):
        return "the features extractor is not SB3's FlattenExtractor"
    if type(policy.mlp_extractor) is not MlpExtractor:
        return f"mlp_extractor is a {type(policy.mlp_extractor).__name__}, not SB3's"
    layers: list[nn.Module] = _heads(policy)
    for hidden in (policy.mlp_extractor.policy_net, policy.mlp_extractor.value_net):
        if type(hidden) is not nn.Sequential or len(hidden) % 2:
            return "a network is not a Sequential of layers, each with an activation"
        layers += [*hidden][0::2]
        if not all(type(activation) in ACTIVATIONS for activation in [*hidden][1::2]):
            return "an activation is neither Tanh nor ReLU"
    if not all(type(layer) is nn.Linear and layer.bias is not None for layer in layers):
        return "a layer is not Linear, or has no bias"
    return None


def _why_not_size(model: TwoOptimizerAlgorithm) -> str | None:
    rows = model.n_steps * model.n_envs
    layers = [module for module in model.policy.modules() if isinstance(module, nn.Linear)]
    width = max(max(layer.in_features, layer.out_features) for layer in layers)
    if width > MAX_WIDTH or rows * width > MAX_ROWS_TIMES_WIDTH:
        return f"{rows} rows and layers of width {width} are large enough for autograd"
    return None


def _why_not_tensors(model: TwoOptimizerAlgorithm) -> str | None:
    policy = model.policy
    tensors = [*policy.parameters(), *policy.buffers()]
    if any(t.device.type != "cpu" or t.dtype != torch.float32 for t in tensors):
        return "the policy is not float32 on a CPU"
    if not all(t.is_contiguous() for t in tensors):
        return "a parameter is not contiguous"
    if not Listeners(model).are_none():
        return "a parameter is frozen, or hooks listen to a parameter or a layer"
    for name, modules in (
        ("optimizer", policy.actor_modules()),
        ("critic_optimizer", policy.critic_modules()),
    ):
        groups = getattr(policy, name).param_groups
        if len(groups) != 1 or {*groups[0]["params"]} != {*modules.parameters()}:
            return f"{name} has not the parameters of its network in one group"
    return None


def _heads(policy: TDACPolicy) -> list[nn.Module]:
    """Output layers of the actor, and of the critic last."""
    std = [policy.std_net] if isinstance(policy.action_space, spaces.Box) else []
    return [policy.action_net, *std, policy.value_net]


class Anchors:
    """Where the memory that the kernels point to came from.

    :param attributes: objects and the names of their attributes that must stay
    :param places: dicts, and names in them that must stay
    """

    def __init__(
        self, attributes: list[tuple[Any, str]], places: list[tuple[dict[str, Any], list[str]]]
    ):
        rows = [(vars(owner), name) for owner, name in attributes]
        rows += [(owner, name) for owner, names in places for name in names]
        self.owners, self.names = zip(*rows, strict=True)
        self.things = [owner[name] for owner, name in rows]
        self.tensors = [thing for thing in self.things if isinstance(thing, Tensor)]
        self.addresses = [*map(Tensor.data_ptr, self.tensors)]

    def hold(self) -> bool:
        """Whether everything is still in its place. Written for speed: it is asked every step."""
        return (
            all(map(is_, map(dict.get, self.owners, self.names), self.things))
            and [*map(Tensor.data_ptr, self.tensors)] == self.addresses
        )


def actor_anchors(model: TwoOptimizerAlgorithm) -> Anchors:
    """Of what actions are computed with.

    :param model: with its policy
    """
    policy = model.policy
    extractor = policy.mlp_extractor
    heads = _heads(policy)[:-1]
    names = ["mlp_extractor", "action_net", "std_net", "pi_features_extractor"]
    places = [
        (policy._modules, [name for name in names if name in policy._modules]),
        (extractor._modules, ["policy_net"]),
        (extractor.policy_net._modules, [*extractor.policy_net._modules]),
        *((layer._parameters, ["weight", "bias"]) for layer in [*extractor.policy_net, *heads]),
    ]
    if policy.normalize_observation:
        (stats,) = policy.observation_normalizer.stats.values()
        places.append((stats._buffers, ["mean", "var"]))
    return Anchors([(model, "policy")], [place for place in places if place[0]])


def update_anchors(model: TwoOptimizerAlgorithm, networks: list[Network]) -> Anchors:
    """Of what else an update computes with.

    :param model: with its policy
    :param networks: the kernels' forms of actor and critic
    """
    policy = model.policy
    modules = [policy, policy.vf_features_extractor, *policy.mlp_extractor.value_net.modules()]
    modules += [policy.value_net, model.advantage_stats]
    if policy.normalize_observation:
        modules += [*policy.observation_normalizer.modules()]
    parts = [part for m in modules for part in (m._modules, m._parameters, m._buffers)]
    optimizers = [(n.optimizer, name) for n in networks for name in ("state", "param_groups")]
    return Anchors(
        [(policy, "optimizer"), (policy, "critic_optimizer"), *optimizers],
        [(part, [*part]) for part in parts],
    )


class Listeners:
    """Who would be called if autograd computed.

    :param model: with its policy
    """

    def __init__(self, model: TwoOptimizerAlgorithm):
        self.hooks = [vars(module)[name] for module in model.policy.modules() for name in HOOKS]
        self.parameters = [*model.policy.parameters()]

    def are_none(self) -> bool:
        """Whether no hook listens, and no parameter is frozen."""
        return not any(self.hooks) and all(
            parameter.requires_grad and not parameter._backward_hooks
            for parameter in self.parameters
        )
