"""Notices when an object that the kernels use is replaced, or gets a hook."""

from collections.abc import Iterable
from operator import attrgetter, is_
from typing import Any

from torch import Tensor, nn
from torch.nn.modules.module import _has_any_global_hook

from sb3_tdac.fast.network import STATE, Network, actor_layers, critic_layers
from sb3_tdac.policies import TDACPolicy

#: Private names of torch: no public function tells whether a hook is registered.
FORWARD_HOOKS = ("_forward_hooks", "_forward_pre_hooks")
HOOKS = (*FORWARD_HOOKS, "_backward_hooks", "_backward_pre_hooks")
TENSOR_HOOKS = attrgetter("_backward_hooks"), attrgetter("_post_accumulate_grad_hooks")
IS_TRAINED = attrgetter("requires_grad")
#: Names in a dict, or parameters in the state of an optimizer, that must keep their values.
Place = tuple[dict[Any, Any], Iterable[object]]


class Anchors:
    """Remembers objects that the kernels use, and notices if one is replaced.

    :param places: dicts, with the keys that must keep their values
    :param hidden: hidden layers, which must not become more or fewer
    """

    def __init__(self, places: Iterable[Place], hidden: nn.Sequential):
        rows = [(owner, name) for owner, names in places for name in names]
        self._owners, self._names = zip(*rows, strict=True)
        self._things = [owner.get(name) for owner, name in rows]
        self._tensors = [thing for thing in self._things if isinstance(thing, Tensor)]
        self._hidden = contents(hidden)[0]
        self._layout = self._current_layout()

    def _current_layout(self) -> list[int]:
        return [len(self._hidden), *map(Tensor.data_ptr, self._tensors)]

    def hold(self) -> bool:
        """Whether everything is still in its place; quick, because every step asks."""
        return (
            all(map(is_, map(dict.get, self._owners, self._names), self._things))
            and self._current_layout() == self._layout
            and all(map(Tensor.is_contiguous, self._tensors))  # a transposed one has its address
        )


def contents(module: nn.Module) -> tuple[dict[str, Any], dict[str, Any], dict[str, Any]]:
    """Submodules, parameters and buffers of a module: the dicts that torch looks them up in.

    They are private to torch. Its public iterators would cost more than an action does.

    :param module: of any type
    """
    return module._modules, module._parameters, module._buffers


def everything_in(modules: Iterable[nn.Module]) -> list[Place]:
    """All entries of ``contents``.

    :param modules: of any type
    """
    return [(entries, [*entries]) for module in modules for entries in contents(module)]


def actor_anchors(policy: TDACPolicy) -> Anchors:
    """The objects that are used for actions.

    :param policy: covered by the kernels
    """
    actor, extractor = actor_layers(policy), policy.mlp_extractor
    layers = [*actor.hidden, *actor.heads]
    names = ["mlp_extractor", "action_net", "std_net", "pi_features_extractor"]
    places: list[Place] = [
        (vars(policy), ["normalize_observation"]),
        (contents(policy)[0], [*names, "observation_normalizer"]),
        (contents(extractor)[0], ["policy_net"]),
        *everything_in([actor.hidden, *layers]),
        *((vars(layer), ["forward"]) for layer in layers),  # none, unless somebody sets it
    ]
    if policy.normalize_observation:
        places += everything_in(policy.observation_normalizer.modules())
    return Anchors(places, actor.hidden)


def update_anchors(policy: TDACPolicy, scale: nn.Module, networks: list[Network]) -> Anchors:
    """The other objects that are used for updates.

    :param policy: covered by the kernels
    :param scale: running scale of the advantage
    :param networks: actor and critic for the kernels
    """
    critic = critic_layers(policy)
    places: list[Place] = [
        (vars(policy), ["optimizer", "critic_optimizer"]),
        (contents(policy)[0], ["vf_features_extractor", "value_net"]),
        (contents(policy.mlp_extractor)[0], ["value_net"]),
        *everything_in([critic.hidden, *critic.hidden, *critic.heads, scale]),
        *((vars(module), ["forward"]) for module in policy.modules()),
    ]
    for network in networks:
        places.append((vars(network.optimizer), ["state", "param_groups"]))
        if network.states:
            places.append((network.optimizer.state, network.parameters))
        places += [(state, STATE) for state in network.states]
    return Anchors(places, critic.hidden)


class Listeners:
    """Finds hooks that torch would call on the general path.

    :param policy: covered by the kernels
    """

    def __init__(self, policy: TDACPolicy):
        actor = actor_layers(policy)
        layers = [*actor.hidden, *actor.heads]
        if policy.normalize_observation:
            layers += policy.observation_normalizer.modules()
        self._of_actor = [vars(module)[name] for module in layers for name in FORWARD_HOOKS]
        self._of_modules = [vars(module)[name] for module in policy.modules() for name in HOOKS]
        self._parameters = [*policy.parameters()]

    def are_none(self, actor_only: bool = False) -> bool:
        """Whether no hook is registered, and no parameter is frozen.

        :param actor_only: check only the modules that are used for actions
        """
        if actor_only:
            return not any(self._of_actor)
        return (
            not any(self._of_modules)
            and not _has_any_global_hook()  # type: ignore[no-untyped-call]
            and all(map(IS_TRAINED, self._parameters))
            and not any(any(map(hooks_of, self._parameters)) for hooks_of in TENSOR_HOOKS)
        )
