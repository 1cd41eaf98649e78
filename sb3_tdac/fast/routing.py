"""Which models the fast path computes as autograd would, and whether it still has their weights."""

from operator import attrgetter, is_
from typing import Any

import torch
from gymnasium import spaces
from stable_baselines3.common.distributions import CategoricalDistribution
from stable_baselines3.common.preprocessing import is_image_space
from stable_baselines3.common.torch_layers import FlattenExtractor, MlpExtractor
from torch import Tensor, nn
from torch.nn.modules.module import _has_any_global_hook

from sb3_tdac.fast.library import load
from sb3_tdac.fast.network import ACTIVATIONS, STATE, Network, state_fits
from sb3_tdac.policies import TDACPolicy
from sb3_tdac.sb3_adapter import TwoOptimizerAlgorithm

#: Above these autograd's matrix products are as fast: measured, see the README.
MAX_WIDTH, MAX_ROWS_TIMES_WIDTH = 256, 2**17
FORWARD_HOOKS = ("_forward_hooks", "_forward_pre_hooks")
HOOKS = (*FORWARD_HOOKS, "_backward_hooks", "_backward_pre_hooks")


def why_not(model: TwoOptimizerAlgorithm) -> str | None:
    """The reason why a model needs the general path.

    :param model: with its policy
    :return: ``None`` if the fast path computes the same
    """
    if load() is None:
        return "the kernels were not compiled for this machine when sb3_tdac was installed"
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
    layers = _heads(policy)
    for hidden in (policy.mlp_extractor.policy_net, policy.mlp_extractor.value_net):
        if type(hidden) is not nn.Sequential or len(hidden) % 2:
            return "a network is not a Sequential of layers, each with an activation"
        layers += [*hidden][0::2]
        if not all(type(activation) in ACTIVATIONS for activation in [*hidden][1::2]):
            return "an activation is neither Tanh nor ReLU"
    if not all(type(layer) is nn.Linear and layer.bias is not None for layer in layers):
        return "a layer is not Linear, or has no bias"
    if not _fit_together(policy):
        return "layers share a parameter, or do not fit on each other"
    return None


def _fit_together(policy: TDACPolicy) -> bool:
    """Whether each layer has parameters of its own, of the shape that the layers around it need."""
    extractor, (*actor_heads, value_net) = policy.mlp_extractor, _heads(policy)
    layers: list[nn.Linear] = []
    inputs: list[int] = []
    for hidden, heads, features in (
        (extractor.policy_net, actor_heads, policy.pi_features_extractor.features_dim),
        (extractor.value_net, [value_net], policy.vf_features_extractor.features_dim),
    ):
        linear: list[nn.Linear] = [*hidden][0::2]
        layers += [*linear, *heads]
        widths = [features, *(layer.out_features for layer in linear)]
        inputs += widths + widths[-1:] * (len(heads) - 1)
    parameters = [p for layer in layers for p in (layer.weight, layer.bias)]
    return (
        all(
            layer.weight.shape == (layer.out_features, width)
            and layer.bias.shape == (layer.out_features,)
            for layer, width in zip(layers, inputs, strict=True)
        )
        and len({*parameters}) == len(parameters)
        and len({head.out_features for head in actor_heads}) == 1
        and value_net.out_features == 1
    )


def _why_not_size(model: TwoOptimizerAlgorithm) -> str | None:
    rows = model.n_steps * model.n_envs
    layers = [module for module in model.policy.modules() if isinstance(module, nn.Linear)]
    width = max(max(layer.in_features, layer.out_features) for layer in layers)
    if width > MAX_WIDTH or rows * width > MAX_ROWS_TIMES_WIDTH:
        return f"{rows} rows and layers of width {width} are large enough for autograd"
    return None


def _why_not_tensors(model: TwoOptimizerAlgorithm) -> str | None:
    policy = model.policy
    tensors = [*policy.parameters(), *policy.buffers(), *model.advantage_stats.buffers()]
    if any(t.device.type != "cpu" or t.dtype != torch.float32 for t in tensors):
        return "the policy, or a running statistic, is not float32 on a CPU"
    if not all(t.is_contiguous() for t in tensors):
        return "a parameter is not contiguous"
    if not Listeners(model).are_none():
        return "a parameter is frozen, or hooks listen to a parameter or a layer"
    if any("forward" in vars(module) for module in policy.modules()):
        return "a module has a forward of its own"
    for name, modules in (
        ("optimizer", policy.actor_modules()),
        ("critic_optimizer", policy.critic_modules()),
    ):
        groups = getattr(policy, name).param_groups
        if len(groups) != 1 or {*groups[0]["params"]} != {*modules.parameters()}:
            return f"{name} has not the parameters of its network in one group"
        if not state_fits(getattr(policy, name)):
            return f"the state of {name} does not fit its parameters"
    return None


def _heads(policy: TDACPolicy) -> list[Any]:
    """Output layers of the actor, and of the critic last."""
    std = [policy.std_net] if isinstance(policy.action_space, spaces.Box) else []
    return [policy.action_net, *std, policy.value_net]


class Anchors:
    """Where the memory that the kernels point to came from.

    :param places: dicts, and names in them that must keep what they have
    :param sequences: networks that must not grow or shrink
    """

    def __init__(self, places: list[tuple[dict[Any, Any], Any]], sequences: list[nn.Sequential]):
        rows = [(owner, name) for owner, names in places for name in names]
        self.owners, self.names = zip(*rows, strict=True)
        self.things = [owner.get(name) for owner, name in rows]
        self.tensors = [thing for thing in self.things if isinstance(thing, Tensor)]
        self.sequences = [sequence._modules for sequence in sequences]
        self.layout = self._layout()

    def _layout(self) -> list[int]:
        return [*map(len, self.sequences), *map(Tensor.data_ptr, self.tensors)]

    def hold(self) -> bool:
        """Whether everything is still in its place. Written for speed: it is asked every step."""
        return (
            all(map(is_, map(dict.get, self.owners, self.names), self.things))
            and self._layout() == self.layout
            and all(map(Tensor.is_contiguous, self.tensors))  # a transposed one has its address
        )


def _parts(modules: list[nn.Module]) -> list[tuple[dict[str, Any], list[str]]]:
    """All that the modules hold."""
    parts = [part for m in modules for part in (m._modules, m._parameters, m._buffers)]
    return [(part, [*part]) for part in parts]


def actor_anchors(model: TwoOptimizerAlgorithm) -> Anchors:
    """Of what actions are computed with.

    :param model: with its policy
    """
    policy = model.policy
    hidden = policy.mlp_extractor.policy_net
    layers = [*hidden, *_heads(policy)[:-1]]
    names = ["mlp_extractor", "action_net", "std_net", "pi_features_extractor"]
    places = [
        (vars(model), ["policy", "fast_path", "n_steps", "n_envs"]),
        (vars(policy), ["normalize_observation"]),
        (policy._modules, [*names, "observation_normalizer"]),
        (policy.mlp_extractor._modules, ["policy_net"]),
        *_parts([hidden, *layers]),
        *((vars(layer), ["forward"]) for layer in layers),  # the class', unless somebody sets one
    ]
    if policy.normalize_observation:
        places += _parts([*policy.observation_normalizer.modules()])
    return Anchors(places, [hidden])


def update_anchors(model: TwoOptimizerAlgorithm, networks: list[Network]) -> Anchors:
    """Of what else an update computes with.

    :param model: with its policy
    :param networks: the kernels' forms of actor and critic
    """
    policy = model.policy
    hidden = policy.mlp_extractor.value_net
    modules = [hidden, *hidden, policy.value_net, model.advantage_stats]
    places: list[tuple[Any, Any]] = [
        (vars(policy), ["optimizer", "critic_optimizer"]),
        (vars(model), ["advantage_stats"]),
        (policy._modules, ["vf_features_extractor", "value_net"]),
        (policy.mlp_extractor._modules, ["value_net"]),
        *_parts(modules),
        *((vars(module), ["forward"]) for module in policy.modules()),
    ]
    for network in networks:
        optimizer = network.optimizer
        places.append((vars(optimizer), ["state", "param_groups"]))
        if network.states:
            places.append((optimizer.state, network.parameters))
        places += [(state, [*STATE]) for state in network.states]
    return Anchors(places, [hidden])


class Listeners:
    """Who would be called if autograd computed.

    :param model: with its policy
    """

    def __init__(self, model: TwoOptimizerAlgorithm):
        policy = model.policy
        actor = [*policy.mlp_extractor.policy_net, *_heads(policy)[:-1]]
        if policy.normalize_observation:
            actor += policy.observation_normalizer.modules()
        self.actor_hooks = [vars(m)[name] for m in actor for name in FORWARD_HOOKS]
        self.hooks = [vars(m)[name] for m in policy.modules() for name in HOOKS]
        self.parameters = [*policy.parameters()]

    def are_none(self) -> bool:
        """Whether no hook listens, and no parameter is frozen."""
        return (
            not any(self.hooks)
            and not _has_any_global_hook()  # type: ignore[no-untyped-call]
            and all(map(attrgetter("requires_grad"), self.parameters))
            and not any(map(attrgetter("_backward_hooks"), self.parameters))
            and not any(map(attrgetter("_post_accumulate_grad_hooks"), self.parameters))
        )
