"""Collecting and updating without autograd: the gradients of (4.20) and (4.22) written out."""

from typing import Any

import numpy as np
import torch
from gymnasium import spaces
from stable_baselines3.common.distributions import CategoricalDistribution
from torch import Tensor

from sb3_tdac import equations
from sb3_tdac.base import TwoOptimizerAlgorithm
from sb3_tdac.distributions import DiagGaussian
from sb3_tdac.fast.adam import Array, view
from sb3_tdac.fast.network import Network
from sb3_tdac.fast.routing import Anchors
from sb3_tdac.running import CLIP, EPSILON, update_moments, update_root_mean_square
from sb3_tdac.transitions import Transitions


class Kernels:
    """The fast path of one model.

    :param model: one that ``why_not`` has nothing against
    """

    def __init__(self, model: TwoOptimizerAlgorithm):
        policy = model.policy
        self.model, self.policy = model, policy
        self.anchors = Anchors(model)
        self.is_box = isinstance(model.action_space, spaces.Box)
        heads = [policy.action_net, policy.std_net] if self.is_box else [policy.action_net]
        self.actor = Network(policy.mlp_extractor.policy_net, heads, policy.optimizer)
        self.critic = Network(
            policy.mlp_extractor.value_net, [policy.value_net], policy.critic_optimizer
        )
        self.moments: tuple[Array, Array, Array] | None = None
        if policy.normalize_observation:
            (stats,) = policy.observation_normalizer.stats.values()
            self.moments = view(stats.mean), view(stats.var), view(stats.count)
        width = policy.action_net.out_features
        self.noise = torch.empty(model.n_envs, width)
        self.noise_view = view(self.noise)

    def is_current(self) -> bool:
        """Whether the arrays are still the memory of what the policy computes with."""
        return self.anchors.hold()

    def _features(self, obs: Array) -> Array:
        rows = obs.reshape(len(obs), -1)
        if self.moments is None:
            return rows.astype(np.float32, copy=False)
        mean, var, _ = self.moments
        rows = np.subtract(rows, mean.reshape(-1), dtype=np.float32)
        rows /= np.sqrt(var.reshape(-1) + np.float32(EPSILON))
        np.minimum(rows, CLIP, rows)
        return np.maximum(rows, -CLIP, rows)

    def sample(self, obs: Array) -> Array:
        """Draw actions, with the random numbers that ``policy.sample`` would use.

        :param obs: (n_envs, *observation shape)
        :return: (n_envs, A) or (n_envs,), in the units of ``evaluate_actions``
        """
        outputs = self.actor.forward(self._features(obs))
        if self.is_box:
            mean, std, _ = self._mean_and_std(outputs)
            self.noise.normal_()
            std *= self.noise_view
            std += mean
            return std
        self.noise.exponential_()  # as torch.multinomial
        (logits,) = outputs
        actions: Array = (np.exp(logits - logits.max(1, keepdims=True)) / self.noise_view).argmax(1)
        return actions

    def _mean_and_std(self, outputs: list[Array]) -> tuple[Array, Array, Array]:
        """Mean, std and unbounded std of (4.24)."""
        mean, std = outputs
        if self.policy.squash_output:
            np.tanh(mean, mean)
        softplus = np.logaddexp(std, np.float32(0.0))
        low, high = self.policy.std_bounds
        return mean, np.maximum(np.minimum(softplus, np.float32(high)), np.float32(low)), softplus

    def update(self, batch: Transitions) -> None:
        """One update: critic, advantage, actor, as ``TDAC.train``.

        :param batch: B transitions as arrays
        :raises ValueError: if a gradient is not finite
        """
        with np.errstate(all="ignore"):  # what is not finite is refused by Network.step
            self._update(batch)

    def _update(self, batch: Transitions) -> None:
        model, size = self.model, len(batch.reward)
        x = self._features(batch.states)
        scale = 1.0 if model.loss_reduction == "sum" else 1.0 / size
        if not model.critic_first:
            value, target = self._value_and_target(x, batch)
        for _ in range(model.critic_steps):
            critic = self._value_and_target(x, batch)  # (4.19)
            self.critic.backward([self._critic_gradient(*critic, batch, scale)])  # (4.20)
            self.critic.step(model.max_grad_norm)
        if model.critic_first:
            value, target = self._value_and_target(x, batch)
        advantage = self._advantage(value, target, batch)  # (4.21)
        outputs = self.actor.forward(x[:size])
        gradient = self._gaussian_gradient if self.is_box else self._categorical_gradient
        self.actor.backward(gradient(outputs, batch.action, scale * advantage, scale))  # (4.22)
        self.actor.step(model.max_grad_norm)  # (4.23)
        if self.moments is not None:
            rows = batch.states[:size].astype(np.float32, copy=False)
            update_moments(*self.moments, rows, np.inf)
        self._last = critic, value, target, advantage, batch.action.copy()

    def _value_and_target(self, x: Array, batch: Transitions) -> tuple[Array, Array]:
        values = self.critic.forward(x)[0][:, 0]
        next_value = values[batch.successor]
        next_value[batch.terminated] = 0.0
        next_value *= self.model.gamma
        next_value += batch.reward
        return values[: len(next_value)], next_value

    def _critic_gradient(
        self, value: Array, target: Array, batch: Transitions, scale: float
    ) -> Array:
        r"""(R, 1) derivative of (4.20) by V of the rows that it reaches.

        By $V(x_i)$ it is minus the TD error; by $V(x_{i+1})$, in the residual gradient alone,
        $\gamma$ times the TD error.
        """
        error = value - target
        error *= scale
        if self.model.critic_gradient == "semi":
            return error[:, None]
        gradient = np.zeros(len(self.critic.activations[0]), np.float32)
        gradient[: len(error)] = error
        error *= self.model.gamma
        error[batch.terminated] = 0.0
        gradient[batch.successor] -= error  # no row is the successor of two
        return gradient[:, None]

    def _advantage(self, value: Array, target: Array, batch: Transitions) -> Array:
        model = self.model
        advantage = target - value
        if model.scale_advantage:
            stats = model.advantage_stats
            advantage = update_root_mean_square(view(stats.mean_square), view(stats.weight), advantage)
        if model.normalize_advantage:
            advantage = (advantage - advantage.mean()) / (advantage.std(ddof=1) + 1e-8)
        if model.discount_states:
            advantage = (model.gamma**batch.elapsed_steps * advantage).astype(np.float32)  # (4.6)
        return advantage

    def _gaussian_gradient(
        self, outputs: list[Array], action: Array, advantage: Array, scale: float
    ) -> list[Array]:
        r"""Derivatives of (4.22) and the entropy bonus by the outputs of the heads.

        With $z = (u - \mu) / \sigma$: of (4.26) by $\mu$ it is $z / \sigma$, by $\sigma$ it is
        $(z^2 - 1) / \sigma$; of the entropy by $\sigma$ it is $1 / \sigma$.
        """
        mean, std, softplus = self._mean_and_std(outputs)
        self._last_outputs = [mean, std]
        z = (action - mean) / std
        advantage = advantage[:, None]
        by_mean = z * advantage
        by_mean /= -std
        if self.policy.squash_output:
            by_mean *= 1.0 - mean * mean
        by_std = (z * z - 1.0) * advantage
        by_std += scale * self.model.ent_coef_now
        by_std /= -std
        by_std *= std == softplus  # no gradient where it is clamped
        by_std *= -np.expm1(-softplus)  # softplus' = 1 - exp(-softplus)
        return [by_mean, by_std]

    def _categorical_gradient(
        self, outputs: list[Array], action: Array, advantage: Array, scale: float
    ) -> list[Array]:
        r"""Derivatives of (4.22) and the entropy bonus by the logits.

        Of $\log p_u$ by logit k it is $1_{k=u} - p_k$; of the entropy $H$ it is
        $-p_k (\log p_k + H)$.
        """
        (logits,) = outputs
        log_prob = logits - logits.max(axis=1, keepdims=True)
        log_prob -= np.log(np.exp(log_prob).sum(axis=1, keepdims=True))
        self._last_outputs = [log_prob]
        prob = np.exp(log_prob)
        entropy = -(prob * log_prob).sum(axis=1, keepdims=True)
        gradient = prob * advantage[:, None]
        gradient[np.arange(len(action)), action] -= advantage
        gradient += scale * self.model.ent_coef_now * prob * (log_prob + entropy)
        return [gradient]

    def figures(self) -> dict[str, Tensor]:
        """What the log shows of the last update, in the names of ``TDAC``'s."""
        (critic_value, critic_target), *rest = self._last[:4]
        tensors = [torch.from_numpy(array) for array in (critic_value, critic_target, *rest)]
        critic_value, critic_target, value, target, advantage = tensors
        distribution = self._last_distribution()
        reduction = self.model.loss_reduction
        log_prob = distribution.log_prob(torch.from_numpy(self._last[4]))
        figures = dict(
            critic_loss=equations.critic_loss(critic_value, critic_target, reduction=reduction),
            actor_loss=equations.actor_loss(log_prob, advantage, reduction),
            value=value,
            target=target,
            entropy=distribution.entropy(),
        )
        return figures | (dict(std=distribution.std) if self.is_box else {})

    def _last_distribution(self) -> Any:
        outputs = [torch.from_numpy(array) for array in self._last_outputs]
        if self.is_box:
            return DiagGaussian(outputs[0].shape[1]).proba_distribution(*outputs)
        return CategoricalDistribution(outputs[0].shape[1]).proba_distribution(*outputs)
