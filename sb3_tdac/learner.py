"""One update of critic and actor, (4.19)-(4.26), by automatic differentiation.

``AutogradLearner.update`` reads like the equations of ``equations.py``, each line with its number.
``Learner`` is the interface that ``TDAC`` uses.
"""

import copy
import math
from dataclasses import dataclass
from typing import NamedTuple, Protocol

import torch
from stable_baselines3.common.distributions import Distribution
from stable_baselines3.common.utils import obs_as_tensor
from torch import Tensor
from torch.nn.utils import clip_grad_norm_

from sb3_tdac import equations
from sb3_tdac.aliases import Array, NumpyObs
from sb3_tdac.distributions import DiagGaussian
from sb3_tdac.normalization import RunningMeanStd, RunningRootMeanSquare, normalize_rewards
from sb3_tdac.policies import TDACPolicy
from sb3_tdac.transitions import TransitionRows, Transitions

NOT_COMPUTED = torch.empty(0)


class Options(NamedTuple):
    """The attributes of ``TDAC`` that an update depends on, as they are at that moment."""

    gamma: float
    ent_coef_now: float
    max_grad_norm: float | None
    normalize_advantage: bool
    scale_advantage: bool
    critic_gradient: str
    critic_first: bool
    critic_steps: int
    loss_reduction: str
    discount_states: bool


class Update(Protocol):
    """The results of one update: losses, values, targets, entropy."""

    def figures(self) -> dict[str, Tensor]:
        """Numbers for the log, without gradients, computed only when they are asked for.

        :return: ``critic_loss`` (), ``actor_loss`` (), ``value`` (B,), ``target`` (B,), ``entropy``
            (B,), and for a ``Box`` ``std`` (B, A)
        """


class Learner(Protocol):
    """Draws actions and makes updates: by autograd, or by compiled kernels."""

    def act(self, obs: NumpyObs) -> Array:
        """Draw an action for each environment.

        :param obs: (n_envs, *observation shape), finite
        :return: (n_envs, A) or (n_envs,), in policy units
        """

    def update(self, rows: TransitionRows, options: Options) -> Update:
        """Make one update of critic and actor.

        :param rows: B transitions
        :param options: attributes of ``TDAC``
        :return: its results
        :raises Exception: perhaps, if a gradient is not finite; the caller restores its snapshot
        """

    def normalize_rewards(
        self, rewards: Array, elapsed: Array, gamma: float, returns: Array, stats: RunningMeanStd
    ) -> None:
        """Do what ``normalization.normalize_rewards`` does, with the same arguments."""

    def is_current(self, actor_only: bool = False) -> bool:
        """Whether the learner still uses the networks and optimizers of the policy.

        :param actor_only: check only the parts that ``act`` uses
        """


@dataclass
class AutogradUpdate:
    """The results of an update by autograd, filled in as they are computed."""

    critic_value: Tensor = NOT_COMPUTED
    critic_target: Tensor = NOT_COMPUTED
    critic_loss: Tensor = NOT_COMPUTED
    value: Tensor = NOT_COMPUTED
    target: Tensor = NOT_COMPUTED
    advantage: Tensor = NOT_COMPUTED
    log_prob: Tensor = NOT_COMPUTED
    actor_loss: Tensor = NOT_COMPUTED
    distribution: Distribution | None = None

    @property
    def entropy(self) -> Tensor:
        """(B,) entropy of the policy in each state."""
        assert self.distribution is not None
        entropy = self.distribution.entropy()
        assert entropy is not None
        return entropy

    def figures(self) -> dict[str, Tensor]:
        """Numbers for the log."""
        names = ("critic_loss", "actor_loss", "value", "target", "entropy")
        figures: dict[str, Tensor] = {name: getattr(self, name).detach() for name in names}
        if isinstance(self.distribution, DiagGaussian):
            figures["std"] = self.distribution.std.detach()
        return figures


class AutogradLearner:
    """Updates any policy, on any device, with the functions of ``equations.py``.

    :param policy: actor and critic with their optimizers
    :param advantage_stats: running scale of the advantage
    :param generator: random generator for actions
    :param device: device of the policy
    """

    def __init__(
        self,
        policy: TDACPolicy,
        advantage_stats: RunningRootMeanSquare,
        generator: torch.Generator,
        device: torch.device,
    ):
        self.policy, self.advantage_stats = policy, advantage_stats
        self.generator, self.device = generator, device
        self.latest = AutogradUpdate()

    def act(self, obs: NumpyObs) -> Array:
        r"""Draw an action $u \sim \pi_\theta(\cdot | x)$ for each environment.

        :param obs: (n_envs, *observation shape)
        :return: (n_envs, A) or (n_envs,), in policy units
        """
        with torch.inference_mode():
            actions = self.policy.sample(obs_as_tensor(obs, self.device), self.generator)
            return actions.cpu().numpy()

    def update(self, rows: TransitionRows, options: Options) -> AutogradUpdate:
        """Step the critic on (4.20), then the actor on (4.22).

        :param rows: B transitions
        :param options: attributes of ``TDAC``; with ``critic_first=False`` both gradients are taken
            before either network changes
        :return: the results of the update
        :raises RuntimeError: on a CPU, if a gradient is not finite
        """
        policy, batch, reduction = self.policy, rows.to(self.device), options.loss_reduction
        now = self.latest = AutogradUpdate()
        if options.critic_first:
            self._step_critic(batch, options, options.critic_steps)  # (4.19), (4.20)
        with torch.set_grad_enabled(not options.critic_first):  # for a joint step of both networks
            value, target = self._value_and_target(batch, options.gamma)  # (4.19)
        now.value, now.target = value.detach(), target.detach()
        now.advantage = self._advantage(now.value, now.target, batch, options)  # (4.21)
        # a copy: SB3 uses some distribution objects again for the next actions
        now.distribution = copy.copy(policy.get_distribution(batch.state))  # (4.24), (4.25)
        now.log_prob = now.distribution.log_prob(batch.action)  # (4.26)
        now.actor_loss = equations.actor_loss(now.log_prob, now.advantage, reduction)  # (4.22)
        loss = now.actor_loss
        if options.ent_coef_now > 0:
            loss = loss - options.ent_coef_now * equations.reduce(now.entropy, reduction)
        if options.critic_first:
            self._descend(loss, options, policy.optimizer)  # (4.23)
        else:  # no loss has a gradient by the other network: one backward pass serves both
            loss = loss + self._critic_loss(value, target, options)  # (4.20)
            self._descend(loss, options, policy.optimizer, policy.critic_optimizer)  # (4.23)
            self._step_critic(batch, options, options.critic_steps - 1)
        policy.update_observation_stats(batch.state)
        return now

    def _step_critic(self, batch: Transitions, options: Options, n_steps: int) -> None:
        """Take gradient steps of the critic, each with a new target."""
        for _ in range(n_steps):
            value, target = self._value_and_target(batch, options.gamma)  # (4.19)
            loss = self._critic_loss(value, target, options)  # (4.20)
            self._descend(loss, options, self.policy.critic_optimizer)

    def _critic_loss(self, value: Tensor, target: Tensor, options: Options) -> Tensor:
        now = self.latest
        now.critic_value, now.critic_target = value, target
        gradient, reduction = options.critic_gradient, options.loss_reduction
        now.critic_loss = equations.critic_loss(value, target, gradient, reduction)
        return now.critic_loss

    def _value_and_target(self, batch: Transitions, gamma: float) -> tuple[Tensor, Tensor]:
        """V(x) and (4.19), from one pass over all states of the rollout."""
        values = self.policy.predict_values(batch.states).flatten()
        value, next_value = values[: len(batch.reward)], values[batch.successor]
        return value, equations.td_target(batch.reward, batch.terminated, next_value, gamma)

    def _advantage(
        self, value: Tensor, target: Tensor, batch: Transitions, options: Options
    ) -> Tensor:
        """(4.21), then the changes that the options ask for."""
        advantage = equations.td_advantage(value, target)
        if options.scale_advantage:
            advantage = self.advantage_stats.scale(advantage)
        if options.normalize_advantage:
            advantage = (advantage - advantage.mean()) / (advantage.std() + 1e-8)
        if options.discount_states:
            advantage = options.gamma**batch.elapsed_steps * advantage  # (4.6)
        return advantage

    def _descend(self, loss: Tensor, options: Options, *optimizers: torch.optim.Optimizer) -> None:
        """Clip the gradient of each network as a whole, and take a step of its optimizer."""
        groups = [optimizer.param_groups[0]["params"] for optimizer in optimizers]
        for parameters in groups:
            for parameter in parameters:
                parameter.grad = None  # zero_grad, without the profiler's share of it
        torch.autograd.backward(loss)
        on_cpu = self.device.type == "cpu"  # elsewhere a look at the norm waits for the device
        max_norm = math.inf if options.max_grad_norm is None else options.max_grad_norm
        for parameters in groups:
            clip_grad_norm_(parameters, max_norm, error_if_nonfinite=on_cpu)
        for optimizer in optimizers:
            optimizer.step()

    normalize_rewards = staticmethod(normalize_rewards)  # the kernels have a form of their own

    def is_current(self, actor_only: bool = False) -> bool:
        """Always true: the policy is asked for its networks and optimizers each time."""
        return True
