"""The fast path of a model: the kernels, in the order of ``TDAC.train``."""

import ctypes
import math
from typing import Any

import numpy as np
import torch
from gymnasium import spaces
from stable_baselines3.common.distributions import CategoricalDistribution
from torch import Tensor

from sb3_tdac import equations
from sb3_tdac.diagnostics.numbers import LARGEST, check_observations
from sb3_tdac.diagnostics.transaction import NotFinite, check_actions, first_not_finite
from sb3_tdac.distributions import DiagGaussian
from sb3_tdac.fast.library import Array, BatchStructure, address, load, zeros
from sb3_tdac.fast.network import Network
from sb3_tdac.fast.routing import Listeners, actor_anchors, update_anchors
from sb3_tdac.normalization import CLIP, DECAY, EPSILON, RunningMeanStd
from sb3_tdac.sb3_adapter import TwoOptimizerAlgorithm
from sb3_tdac.transitions import TransitionBuffer, Transitions


class Kernels:
    """Collecting and updating for one model.

    :param model: one that ``why_not`` has nothing against
    """

    def __init__(self, model: TwoOptimizerAlgorithm):
        policy = model.policy
        self.model, self.policy, self.library = model, policy, load()
        self._shape = (model.n_envs, *model.observation_space.shape)  # type: ignore[misc]
        self._last_outputs: list[Array] = []
        scale = model.advantage_stats
        self._advantage_stats = scale.mean_square.numpy(), scale.weight.numpy()
        self.is_box = isinstance(model.action_space, spaces.Box)
        self.capacity = 2 * model.n_steps * model.n_envs + model.n_envs  # every step a time limit
        heads: list[Any] = [policy.action_net, *([policy.std_net] if self.is_box else [])]
        extractor = policy.mlp_extractor
        self.actor = Network(extractor.policy_net, heads, policy.optimizer, self.capacity)
        self.critic = Network(
            extractor.value_net, [policy.value_net], policy.critic_optimizer, self.capacity
        )
        self._allocate_batch(policy.pi_features_extractor.features_dim, heads[0].out_features)
        self.stats: tuple[Tensor, Tensor, Tensor] | None = None
        if policy.normalize_observation:
            (stats,) = policy.observation_normalizer.stats.values()
            self.stats, self.memory = (stats.mean, stats.var, stats.count), stats.memory
        self._statistics = [*self._advantage_stats, *(t.numpy() for t in self.stats or ())]
        self._listeners = Listeners(model)
        self._actor_anchors = actor_anchors(model)
        self._update_anchors = update_anchors(model, [self.actor, self.critic])

    def _allocate_batch(self, features: int, width: int) -> None:
        size, self.features = self.model.n_steps * self.model.n_envs, features
        self.raw_states, self.states = (zeros(self.capacity, features) for _ in range(2))
        columns: dict[str, Array] = dict(
            states=self.states,
            reward=zeros(size),
            action=zeros(size, width),
            successor=zeros(size, dtype=np.int64),
            elapsed_steps=zeros(size, dtype=np.int64),
            choice=zeros(size, dtype=np.int64),
            terminated=zeros(size, dtype=bool),
            **{name: zeros(size) for name in ("value", "target", "advantage")},
        )
        self.columns = columns
        self._states, self._raw_states = address(self.states), address(self.raw_states)
        self.batch = BatchStructure(size, 0, *map(address, columns.values()))
        self.batch_address = ctypes.addressof(self.batch)
        self.noise = torch.empty(self.model.n_envs, width)
        self._noise, self._action = self.noise.numpy(), zeros(self.model.n_envs, width)
        self._sampling = address(self.noise), address(self._action)

    def can_sample(self) -> bool:
        """Whether the kernels still point to what the actor computes with."""
        return self._actor_anchors.hold() and not any(self._listeners.actor_hooks)

    def can_update(self) -> bool:
        """The same of all that an update needs, and whether nobody listens to autograd."""
        return self.can_sample() and self._update_anchors.hold() and self._listeners.are_none()

    def _set_states(self, obs: Array) -> bool:
        """Normalized observations into ``states``; returns whether all can be learned from."""
        rows = len(obs)
        if self.stats is None:
            self.states[:rows] = obs.reshape(rows, -1)
            return bool(self.library.are_within(self._states, rows * self.features, LARGEST))
        self.raw_states[:rows] = obs.reshape(rows, -1)
        mean, var, _ = self.stats
        are_fine = self.library.normalize(
            *(self._raw_states, rows, self.features, mean.data_ptr(), var.data_ptr()),
            *(EPSILON, CLIP, LARGEST, self._states),
        )
        return bool(are_fine)

    def sample(self, obs: Array) -> Array:
        """Draw actions, with the random numbers that ``policy.sample`` would use.

        :param obs: (n_envs, *observation shape)
        :return: (n_envs, A) or (n_envs,), in the units of ``evaluate_actions``
        :raises ValueError: if an observation, or an action of a ``Box``, is not finite
        """
        if obs.shape != self._shape or obs.dtype != np.float32 or not self._set_states(obs):
            check_observations(self.model, obs)
            self._set_states(obs)
        states, rows = self._states, len(obs)
        if self.is_box:
            self.noise.normal_(generator=self.model.generator)  # as torch.normal
            are_finite = self.library.sample_gaussian(
                *(self.actor.address, states, rows, self.policy.squash_output),
                *(*self.policy.std_bounds, *self._sampling),
            )
            if not are_finite:
                check_actions(self.model, self._action)
            return self._action.copy()
        self.noise.exponential_(generator=self.model.generator)  # as torch.multinomial
        self.library.forward(self.actor.address, states, rows)
        logits = self.actor.outputs[-1][:rows]
        choice: Array = (logits - np.log(self._noise)).argmax(axis=1)
        return choice

    def normalize_rewards(
        self, buffer: TransitionBuffer, discounted_return: Array, stats: RunningMeanStd
    ) -> None:
        """Divide rewards by the root mean square of recent discounted returns, and clip them.

        :param buffer: whose rewards are divided, in place
        :param discounted_return: (n_envs,) float64, up to the last step; in place
        :param stats: of the discounted returns, float64
        """
        self.library.normalize_rewards(
            *(address(buffer.rewards), address(buffer.elapsed_steps)),
            *(buffer.n_steps, buffer.n_envs, self.model.gamma, address(discounted_return)),
            *(address(stats.mean), address(stats.var), address(stats.count)),
            *(stats.memory, EPSILON, CLIP),
        )

    def update(self, rows: Transitions) -> None:
        """One update: critic, advantage, actor; all of it, or nothing.

        :param rows: B transitions as arrays
        :raises NotFinite: if a number is not finite
        """
        before, outputs = [numbers.copy() for numbers in self._statistics], self._last_outputs
        self.critic.keep()
        self.actor.keep()
        try:
            self._update(rows)
        except BaseException as error:  # Ctrl-C too: half an update is none
            has_acted = self._last_outputs is not outputs
            first = self._first_not_finite(has_acted) if isinstance(error, NotFinite) else None
            self.critic.restore()
            self.actor.restore()
            for numbers, old in zip(self._statistics, before, strict=True):
                numbers[...] = old
            if first is not None:
                raise first from None
            raise

    def _first_not_finite(self, has_acted: bool) -> NotFinite | None:
        """The cause of a failed update: what comes first in its order."""
        columns = self.columns
        found = first_not_finite(
            {
                "parameter of the critic": self.critic.parameters,
                "value": [columns["value"]],
                "target": [columns["target"]],
                "gradient of the critic": self.critic.gradients,
                "mean square of the advantage": [self._advantage_stats[0]],
                "advantage": [columns["advantage"]],
                "parameter of the actor": self.actor.parameters,
                "output of the actor": self._last_outputs if has_acted else [],
            }
        )
        if found is None and has_acted:
            found = first_not_finite({"log-density": [self._last_distribution()[1]]})
        return found or first_not_finite({"gradient of the actor": self.actor.gradients})

    def _update(self, rows: Transitions) -> None:
        model, library, batch = self.model, self.library, self.batch_address
        self._set_batch(rows)
        scale = 1.0 if model.loss_reduction == "sum" else 1.0 / self.batch.size
        residual = model.critic_gradient == "residual"
        if not model.critic_first:
            self._set_advantage()
        for _ in range(model.critic_steps):  # (4.19), (4.20)
            library.critic_gradient(self.critic.address, batch, model.gamma, scale, residual)
            self.critic.step(model.max_grad_norm)
        self._last_critic = self.columns["value"].copy(), self.columns["target"].copy()
        if model.critic_first:
            self._set_advantage()
        self._set_actor_gradient(scale)  # (4.22)
        self.actor.step(model.max_grad_norm)  # (4.23)
        networks_are = library.is_finite(self.critic.address) and library.is_finite(
            self.actor.address
        )
        if not (networks_are and math.isfinite(self._advantage_stats[0])):
            raise NotFinite("parameter or running statistic")
        if self.stats is not None:
            self.raw_states[: self.batch.size] = rows.state.reshape(self.batch.size, -1)
            library.update_moments(
                *(self._raw_states, self.batch.size, self.features),
                *(*map(address, self.stats), self.memory),
            )

    def _set_batch(self, rows: Transitions) -> None:
        columns = self.columns
        self.batch.rows = len(rows.states)
        if not self._set_states(rows.states):
            check_observations(self.model, self.model._last_obs)  # the only ones not seen yet
        for name in ("reward", "terminated", "successor", "elapsed_steps"):
            columns[name][:] = getattr(rows, name)
        columns["action" if self.is_box else "choice"][:] = rows.action

    def _set_advantage(self) -> None:
        """(4.21) of the critic as it is now, with the options."""
        model, stats = self.model, self.model.advantage_stats
        self.library.value_and_target(self.critic.address, self.batch_address, model.gamma)
        self._last_advantage = self.columns["value"].copy(), self.columns["target"].copy()
        self.library.advantage(
            *(self.batch_address, model.gamma, model.scale_advantage, DECAY, EPSILON),
            *(address(stats.mean_square), address(stats.weight)),
            *(model.normalize_advantage, model.discount_states),
        )

    def _set_actor_gradient(self, scale: float) -> None:
        actor, batch, ent_coef = self.actor.address, self.batch_address, self.model.ent_coef_now
        if self.is_box:
            squash, bounds = self.policy.squash_output, self.policy.std_bounds
            self.library.gaussian_gradient(actor, batch, scale, ent_coef, squash, *bounds)
        else:
            self.library.categorical_gradient(actor, batch, scale, ent_coef)
        heads = self.actor.outputs[-2:] if self.is_box else self.actor.outputs[-1:]
        self._last_outputs = [output[: self.batch.size].copy() for output in heads]

    def figures(self) -> dict[str, Tensor]:
        """What the log shows of the last update, by the names that ``TDAC`` gives them.

        :return: detached tensors
        """
        tensors = map(torch.from_numpy, (*self._last_critic, *self._last_advantage))
        critic_value, critic_target, value, target = tensors
        distribution, log_prob = self._last_distribution()
        advantage = self.columns["advantage"]
        reduction = self.model.loss_reduction
        figures = dict(
            critic_loss=equations.critic_loss(critic_value, critic_target, reduction=reduction),
            actor_loss=equations.actor_loss(log_prob, torch.from_numpy(advantage), reduction),
            value=value,
            target=target,
            entropy=distribution.entropy(),
        )
        return figures | (dict(std=distribution.std) if self.is_box else {})

    def _last_distribution(self) -> tuple[Any, Tensor]:
        """The policy of the last update, and (B,) the log-density of its actions."""
        outputs = [*map(torch.from_numpy, self._last_outputs)]
        distribution: Any = (DiagGaussian if self.is_box else CategoricalDistribution)(
            outputs[0].shape[1]
        ).proba_distribution(*outputs)
        action = torch.from_numpy(self.columns["action" if self.is_box else "choice"])
        return distribution, distribution.log_prob(action)
