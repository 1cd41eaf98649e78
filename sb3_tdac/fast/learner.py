"""Acts and updates by compiled kernels, in the order of the text."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from gymnasium import spaces
from torch import Tensor

from sb3_tdac.aliases import Array, NumpyObs
from sb3_tdac.fast.anchors import Listeners, actor_anchors, update_anchors
from sb3_tdac.fast.library import Kernels, zeros
from sb3_tdac.fast.network import Network, actor_layers, critic_layers
from sb3_tdac.fast.snapshot import KernelSnapshot
from sb3_tdac.fast.update import KernelUpdate, distribution_of
from sb3_tdac.learner import Options
from sb3_tdac.normalization import CLIP, DECAY, EPSILON, RunningMeanStd, RunningRootMeanSquare
from sb3_tdac.policies import TDACPolicy
from sb3_tdac.transitions import TransitionRows


class KernelLearner:
    """A ``sb3_tdac.learner.Learner`` on the memory of a policy's parameters.

    :param kernels: the library
    :param policy: covered by the kernels
    :param advantage_stats: running scale of the advantage
    :param n_steps: steps of each environment between updates
    :param n_envs: number of environments
    :param generator: random generator for actions
    """

    def __init__(
        self,
        kernels: Kernels,
        policy: TDACPolicy,
        advantage_stats: RunningRootMeanSquare,
        n_steps: int,
        n_envs: int,
        generator: torch.Generator,
    ):
        self._kernels, self._functions = kernels, kernels.functions
        self._policy, self._generator = policy, generator
        self._size, self._is_box = n_steps * n_envs, isinstance(policy.action_space, spaces.Box)
        layers, rows = actor_layers(policy), 2 * self._size + n_envs  # every step a time limit
        self.actor = Network(kernels, layers, rows)
        self.critic = Network(kernels, critic_layers(policy), rows)
        self._features, width = layers.features, layers.linear[-1].out_features
        self._noise, self._sampled = torch.empty(n_envs, width), zeros(n_envs, width)
        self._noise_array = self._noise.numpy()
        self._sampling = kernels.pointer(self._noise), kernels.pointer(self._sampled)
        tensors = [advantage_stats.mean_square, advantage_stats.weight]
        if policy.normalize_observation:
            (stats,) = policy.observation_normalizer.stats.values()
            tensors += [stats.mean, stats.var, stats.count]
            self._memory = stats.memory
        pointers = [*map(kernels.pointer, tensors)]
        self._scale, self._moments = pointers[:2], pointers[2:]
        self._statistics = [tensor.numpy() for tensor in tensors]
        networks = [self.critic, self.actor]
        self.snapshot = KernelSnapshot(kernels, networks, self._statistics, self.trace)
        self._allocate_batch(rows, width)
        self._listeners, self._actor_anchors = Listeners(policy), actor_anchors(policy)
        self._update_anchors = update_anchors(policy, advantage_stats, [self.actor, self.critic])

    def _allocate_batch(self, rows: int, width: int) -> None:
        """Make arrays for a batch, and the structure that points to them."""
        size, pointer = self._size, self._kernels.pointer
        states = zeros(rows, self._features)
        self._raw_states = zeros(rows, self._features) if self._moments else states
        self._raw, self._states = pointer(self._raw_states), pointer(states)
        self._columns: dict[str, Array] = dict(reward=zeros(size), action=zeros(size, width))
        self._columns["terminated"] = np.zeros(size, bool)
        for name in ("successor", "elapsed_steps", "choice"):
            self._columns[name] = np.zeros(size, np.int64)
        self._action = self._columns["action" if self._is_box else "choice"]
        self._numbers, names = zeros(3, size), ("value", "target", "advantage")
        columns = self._columns | dict(zip(names, self._numbers, strict=True))
        pointers = {name: pointer(column) for name, column in columns.items()}
        fields = pointers | dict(size=size, states=self._states)
        self._batch: Any = self._kernels.ffi.new("Batch *", fields)  # cffi's have no typed fields
        self._heads: list[Array] = []  # outputs of the actor in the last update

    def is_current(self, actor_only: bool = False) -> bool:
        """Whether the kernels still use the objects of the policy, and no hook is registered.

        :param actor_only: check only the parts that ``act`` uses
        """
        is_same = self._actor_anchors.hold() and (actor_only or self._update_anchors.hold())
        return is_same and self._listeners.are_none(actor_only)

    def _set_states(self, obs: NumpyObs) -> None:
        """Write observations into the batch, normalized as the policy does."""
        assert isinstance(obs, np.ndarray)  # the kernels cover no dicts
        rows, raw, states = len(obs), self._raw, self._states
        self._raw_states[:rows] = obs.reshape(rows, -1)
        if self._moments:
            mean, var, _ = self._moments
            self._functions.normalize(raw, rows, self._features, mean, var, EPSILON, CLIP, states)

    def act(self, obs: NumpyObs) -> Array:
        """Draw actions, with the random numbers that ``policy.sample`` would use.

        :param obs: (n_envs, *observation shape), finite numbers
        :return: (n_envs, A) or (n_envs,), in policy units
        """
        self._set_states(obs)
        policy, actor, states, rows = self._policy, self.actor, self._states, len(obs)
        if self._is_box:
            self._noise.normal_(generator=self._generator)  # as torch.normal
            limits = policy.squash_output, *policy.std_bounds
            self._functions.sample_gaussian(actor.structure, states, rows, *limits, *self._sampling)
            return self._sampled.copy()
        self._noise.exponential_(generator=self._generator)  # as torch.multinomial
        self._functions.forward(actor.structure, states, rows)
        logits = actor.outputs[-1][:rows]
        choice: Array = (logits - np.log(self._noise_array)).argmax(axis=1)
        return choice

    def normalize_rewards(
        self, rewards: Array, elapsed: Array, gamma: float, returns: Array, stats: RunningMeanStd
    ) -> None:
        """Do what ``normalization.normalize_rewards`` does, with the same arguments."""
        pointer = self._kernels.pointer
        moments = pointer(stats.mean), pointer(stats.var), pointer(stats.count)
        self._functions.normalize_rewards(
            *(pointer(rewards), pointer(elapsed), *rewards.shape, gamma),
            *(pointer(returns), *moments, stats.memory, EPSILON, CLIP),
        )

    def update(self, rows: TransitionRows, options: Options) -> KernelUpdate:
        """One update: critic, advantage, actor. The caller restores ``snapshot`` if it fails.

        :param rows: B transitions as arrays
        :param options: attributes of ``TDAC``
        :return: its results
        :raises NotFinite: if a gradient is not finite; its parameters have not moved then
        """
        functions, critic, batch = self._functions, self.critic, self._batch
        self._heads = []
        self._set_batch(rows)
        scale = 1.0 if options.loss_reduction == "sum" else 1.0 / self._size
        residual = options.critic_gradient == "residual"
        if not options.critic_first:
            numbers = self._set_advantage(options)
        for _ in range(options.critic_steps):  # (4.19), (4.20)
            functions.critic_gradient(critic.structure, batch, options.gamma, scale, residual)
            critic.step(options.max_grad_norm)
        of_critic = self._numbers[:2].copy()
        if options.critic_first:
            numbers = self._set_advantage(options)
        self._set_actor_gradient(scale, options.ent_coef_now)  # (4.22)
        self.actor.step(options.max_grad_norm)  # (4.23)
        if self._moments:
            sizes = self._size, self._features
            functions.update_moments(self._raw, *sizes, *self._moments, self._memory)
        action, reduction = self._action.copy(), options.loss_reduction
        return KernelUpdate(of_critic, numbers, self._heads, action, reduction)

    def _set_batch(self, rows: TransitionRows) -> None:
        self._batch.rows = len(rows.states)
        self._set_states(rows.states)
        for name in ("reward", "terminated", "successor", "elapsed_steps"):
            self._columns[name][:] = getattr(rows, name)
        self._action[:] = rows.action

    def _set_advantage(self, options: Options) -> Array:
        """(4.21) of the critic as it is now, with the options.

        :return: (3, B) value, target and advantage
        """
        gamma = options.gamma
        self._functions.value_and_target(self.critic.structure, self._batch, gamma)
        self._functions.advantage(
            *(self._batch, gamma, options.scale_advantage, DECAY, EPSILON, *self._scale),
            *(options.normalize_advantage, options.discount_states),
        )
        return self._numbers.copy()

    def _set_actor_gradient(self, scale: float, ent_coef: float) -> None:
        functions, policy, actor = self._functions, self._policy, self.actor
        arguments = actor.structure, self._batch, scale, ent_coef
        if self._is_box:
            functions.gaussian_gradient(*arguments, policy.squash_output, *policy.std_bounds)
        else:
            functions.categorical_gradient(*arguments)
        heads = actor.outputs[-2:] if self._is_box else actor.outputs[-1:]
        self._heads = [output[: self._size].copy() for output in heads]

    def trace(self) -> dict[str, Sequence[Tensor | Array]]:
        """Numbers of the last update, in the order of computing, to find the first bad one.

        :return: by the names that messages use; those of the actor only if the update reached it
        """
        value, target, advantage = self._numbers
        trace: dict[str, Sequence[Tensor | Array]] = {
            "parameter of the critic": self.critic.parameters,
            "value": [value],
            "target": [target],
            "gradient of the critic": self.critic.gradients,
            "mean square of the advantage": [self._statistics[0]],
            "advantage": [advantage],
            "parameter of the actor": self.actor.parameters,
            "output of the actor": self._heads,
        }
        if self._heads and all(np.isfinite(output).all() for output in self._heads):
            # torch refuses outputs that are not finite
            distribution = distribution_of(self._heads)
            trace["log-density"] = [distribution.log_prob(torch.from_numpy(self._action))]
        return trace | {"gradient of the actor": self.actor.gradients}
