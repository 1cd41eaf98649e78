"""Chooses the kernels if they compute the same as autograd for a model."""

import torch
from gymnasium import spaces
from stable_baselines3.common.distributions import CategoricalDistribution
from stable_baselines3.common.preprocessing import is_image_space
from stable_baselines3.common.torch_layers import FlattenExtractor, MlpExtractor
from torch import nn

from sb3_tdac.fast import library
from sb3_tdac.fast.anchors import Listeners
from sb3_tdac.fast.learner import KernelLearner
from sb3_tdac.fast.network import ACTIVATIONS, Layers, actor_layers, critic_layers, state_fits
from sb3_tdac.normalization import RunningRootMeanSquare
from sb3_tdac.policies import TDACPolicy

#: Above these limits autograd's matrix products are as fast: measured, see docs/speed.md.
MAX_WIDTH, MAX_ROWS_TIMES_WIDTH = 256, 2**17


def choose(
    policy: TDACPolicy,
    advantage_stats: RunningRootMeanSquare,
    n_steps: int,
    n_envs: int,
    generator: torch.Generator,
) -> KernelLearner | str:
    """Make a learner with compiled kernels if they compute the same as autograd.

    :param policy: actor and critic
    :param advantage_stats: running scale of the advantage
    :param n_steps: steps of each environment between updates
    :param n_envs: number of environments
    :param generator: random generator for actions
    :return: the learner, or the reason why there is none
    """
    if type(policy) is not TDACPolicy:
        return f"policy is a {type(policy).__name__}, not the MlpPolicy"
    kernels = (
        _why_not_spaces(policy)
        or _why_not_layers(policy)
        or _why_not_size(policy, n_steps * n_envs)
        or _why_not_tensors(policy, advantage_stats)
        or _why_not_optimizers(policy)
        or library.load()
    )
    if isinstance(kernels, str):
        return kernels
    return KernelLearner(kernels, policy, advantage_stats, n_steps, n_envs, generator)


def _why_not_spaces(policy: TDACPolicy) -> str | None:
    space, action_space = policy.observation_space, policy.action_space
    if not isinstance(space, spaces.Box) or is_image_space(space, check_channels=False):
        return f"observations are not vectors: {space}"
    is_box = isinstance(action_space, spaces.Box)
    if not is_box and type(policy.action_dist) is not CategoricalDistribution:
        return f"actions are neither Box nor Discrete: {action_space}"
    return None


def _why_not_layers(policy: TDACPolicy) -> str | None:
    extractors = (policy.pi_features_extractor, policy.vf_features_extractor)
    if any(type(extractor) is not FlattenExtractor for extractor in extractors):
        return "the features extractor is not SB3's FlattenExtractor"
    if type(policy.mlp_extractor) is not MlpExtractor:
        return f"mlp_extractor is a {type(policy.mlp_extractor).__name__}, not SB3's"
    networks = actor_layers(policy), critic_layers(policy)
    for _, hidden, heads, _ in networks:
        if type(hidden) is not nn.Sequential or len(hidden) % 2:
            return "a network is not a Sequential of layers, each with an activation"
        if not all(type(activation) in ACTIVATIONS for activation in [*hidden][1::2]):
            return "an activation is neither Tanh nor ReLU"
        layers = [*[*hidden][0::2], *heads]
        if not all(type(layer) is nn.Linear and layer.bias is not None for layer in layers):
            return "a layer is not Linear, or has no bias"
    if not _fit_together(*networks):
        return "layers share a parameter, or do not fit on each other"
    return None


def _fit_together(actor: Layers, critic: Layers) -> bool:
    """Whether no layers share a parameter, and each fits on the layer before it."""
    for network in (actor, critic):
        n_hidden = len(network.hidden) // 2
        widths = [network.features, *(layer.out_features for layer in network.linear)]
        for i, layer in enumerate(network.linear):
            shape = layer.out_features, widths[min(i, n_hidden)]
            if layer.weight.shape != shape or layer.bias.shape != shape[:1]:
                return False
    layers = [*actor.linear, *critic.linear]
    parameters = {p for layer in layers for p in (layer.weight, layer.bias)}
    return (
        len(parameters) == 2 * len(layers)
        and len({layer.out_features for layer in actor.linear[-len(actor.heads) :]}) == 1
        and critic.linear[-1].out_features == 1
    )


def _why_not_size(policy: TDACPolicy, rows: int) -> str | None:
    layers = [module for module in policy.modules() if isinstance(module, nn.Linear)]
    width = max(max(layer.in_features, layer.out_features) for layer in layers)
    if width > MAX_WIDTH or rows * width > MAX_ROWS_TIMES_WIDTH:
        return f"{rows} rows and layers of width {width} are large enough for autograd"
    return None


def _why_not_tensors(policy: TDACPolicy, advantage_stats: RunningRootMeanSquare) -> str | None:
    tensors = [*policy.parameters(), *policy.buffers(), *advantage_stats.buffers()]
    if any(t.device.type != "cpu" or t.dtype != torch.float32 for t in tensors):
        return "the policy, or a running statistic, is not float32 on a CPU"
    if not all(t.is_contiguous() for t in tensors):
        return "a parameter is not contiguous"
    if not Listeners(policy).are_none():
        return "a parameter is frozen, or a parameter or a layer has a hook"
    if any("forward" in vars(module) for module in policy.modules()):
        return "a module has a forward of its own"
    return None


def _why_not_optimizers(policy: TDACPolicy) -> str | None:
    for name, optimizer, modules in (
        ("optimizer", policy.optimizer, policy.actor_modules()),
        ("critic_optimizer", policy.critic_optimizer, policy.critic_modules()),
    ):
        groups = optimizer.param_groups
        if len(groups) != 1 or {*groups[0]["params"]} != {*modules.parameters()}:
            return f"{name} does not hold the parameters of its network in one group"
        if not state_fits(optimizer):
            return f"the state of {name} does not fit its parameters"
    return None
