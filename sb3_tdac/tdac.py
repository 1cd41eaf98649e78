"""TDAC: the one-step temporal-difference advantage actor-critic, (4.19)-(4.26)."""

import copy
import math
from collections.abc import Callable
from typing import Any, ClassVar, Literal

import numpy as np
import torch
from gymnasium import spaces
from numpy.typing import NDArray
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.distributions import Distribution
from stable_baselines3.common.policies import BasePolicy
from stable_baselines3.common.type_aliases import GymEnv, PyTorchObs
from stable_baselines3.common.utils import explained_variance, obs_as_tensor
from stable_baselines3.common.vec_env import VecEnv
from torch import Tensor
from torch.nn.utils import clip_grad_norm_

from sb3_tdac import equations, fast
from sb3_tdac.diagnostics.environment_errors import blame
from sb3_tdac.diagnostics.numbers import check_observations, check_rollout, check_step
from sb3_tdac.diagnostics.transaction import (
    Guard,
    NotFinite,
    check_actions,
    check_parameters,
    failed_update,
)
from sb3_tdac.diagnostics.vec_normalize import check_originals, keep_statistics
from sb3_tdac.distributions import DiagGaussian
from sb3_tdac.normalization import (
    CLIP,
    EPSILON,
    RunningMeanStd,
    RunningRootMeanSquare,
    update_moments,
)
from sb3_tdac.policies import CnnPolicy, MlpPolicy, MultiInputPolicy, TDACPolicy
from sb3_tdac.sb3_adapter import TwoOptimizerAlgorithm
from sb3_tdac.schedules import ScheduleArgument
from sb3_tdac.transitions import TransitionBuffer, Transitions
from sb3_tdac.validation import (
    check_bool,
    check_integer,
    check_policy,
    check_real,
    check_word,
)

#: Rows of an update where ``n_steps`` is not given.
DEFAULT_BATCH = 32
#: ``normalize_reward`` remembers the returns of this part of the training so far, at least so many:
#: soon after a bad start it has forgotten how bad, and later its scale no longer wanders.
RETURN_SHARE, RETURN_MEMORY = 0.1, 1_000
#: Attributes that belong to the memory of one model: copies and files have none.
TRANSIENT = ("_kernels", "_path", "_last_update", "_guard", "_kept_statistics")
#: Keyword arguments that turn every departure from the text off: (4.19)-(4.26) and nothing else.
TEXTBOOK: dict[str, Any] = dict(
    critic_learning_rate=None,
    ent_coef=0.0,
    max_grad_norm=None,
    actor_warmup=0.0,
    normalize_advantage=False,
    scale_advantage=False,
    normalize_reward=False,
    normalize_observation=False,
    critic_gradient="semi",
    critic_first=True,
    critic_steps=1,
    loss_reduction="sum",
    discount_states=False,
    fast_path=False,  # the functions of equations.py themselves
    policy_kwargs=dict(std_bounds=(1e-6, float("inf")), scale_actions=False),
)


class TDAC(TwoOptimizerAlgorithm):
    r"""One-step TD advantage actor-critic with a state-dependent diagonal Gaussian.

    Every ``n_steps`` steps of each environment: gradient steps of the critic on (4.20), the
    advantage (4.21), and one gradient step of the actor on (4.22), which is (4.23).

    :param policy: ``"MlpPolicy"``, ``"CnnPolicy"``, ``"MultiInputPolicy"``, or a ``TDACPolicy``
    :param env: environment, or the id of a registered one
    :param learning_rate: $\alpha$ of (4.23), the actor's: a number, a callable of the remaining
        progress (1 to 0), or a string like ``"lin_7e-4"``
    :param critic_learning_rate: the critic's, likewise; ``None``: the actor's
    :param actor_warmup: fraction of the training over which the actor's learning rate rises from
        zero to ``learning_rate``, while the critic learns what the first policy is worth
    :param n_steps: steps of each environment between updates; ``None``: as many as give 32 rows
    :param gamma: discount factor, in [0, 1]
    :param ent_coef: weight of the entropy bonus, a number, callable or string
    :param max_grad_norm: clip the gradient of each network to this norm; ``None``: do not clip
    :param normalize_advantage: shift and divide the advantages of a batch by their mean and std
    :param scale_advantage: divide the advantages by the running root of their mean square
    :param normalize_reward: divide rewards by the root mean square of recent discounted returns
    :param normalize_observation: shift and divide observations by their running mean and std
    :param critic_gradient: ``"semi"``: the target of (4.20) is constant; ``"residual"``: it is not
    :param critic_first: the advantage comes from the updated critic; False: from the old one
    :param critic_steps: gradient steps of the critic in each update
    :param loss_reduction: ``"sum"`` over the batch as in (4.20) and (4.22), or ``"mean"``
    :param discount_states: weight the terms of (4.22) with $\gamma^t$, as in (4.6)
    :param stats_window_size: episodes over which ``rollout/`` figures are averaged
    :param tensorboard_log: folder of the TensorBoard log; ``None``: no log
    :param policy_kwargs: arguments of ``TDACPolicy``
    :param verbose: 0: no output, 1: information, 2: debugging
    :param seed: seed of all random generators
    :param device: ``"auto"``, ``"cpu"``, ``"cuda"``, ...
    :param fast_path: compute with compiled kernels where these give the same, faster: for a small
        ``MlpPolicy`` on a CPU; False: never
    :param _init_setup_model: build the networks now
    :raises TypeError: if an argument has the wrong type
    :raises ValueError: if an argument is out of range, or a space is not supported
    """

    policy_aliases: ClassVar[dict[str, type[BasePolicy]]] = {
        "MlpPolicy": MlpPolicy,
        "CnnPolicy": CnnPolicy,
        "MultiInputPolicy": MultiInputPolicy,
    }
    rollout_buffer: TransitionBuffer  # type: ignore[assignment]
    _kernels: fast.Kernels | None = None
    _path: str | None = None
    _last_update: Callable[[], dict[str, Tensor]] | None = None
    _guard: Guard | None = None

    def __init__(
        self,
        policy: str | type[TDACPolicy],
        env: GymEnv | str | None,
        learning_rate: ScheduleArgument = "lin_3e-3",
        critic_learning_rate: ScheduleArgument | None = "lin_4e-3",
        actor_warmup: float = 0.25,
        n_steps: int | None = None,
        gamma: float = 0.96,
        ent_coef: ScheduleArgument = "lin_0.01",
        max_grad_norm: float | None = 0.2,
        normalize_advantage: bool = False,
        scale_advantage: bool = False,
        normalize_reward: bool = True,
        normalize_observation: bool = True,
        critic_gradient: Literal["semi", "residual"] = "semi",
        critic_first: bool = True,
        critic_steps: int = 4,
        loss_reduction: Literal["sum", "mean"] = "sum",
        discount_states: bool = False,
        stats_window_size: int = 100,
        tensorboard_log: str | None = None,
        policy_kwargs: dict[str, Any] | None = None,
        verbose: int = 0,
        seed: int | None = None,
        device: torch.device | str = "auto",
        fast_path: bool = True,
        _init_setup_model: bool = True,
    ):
        check_policy(policy, self.policy_aliases)
        check_integer("verbose", verbose, low=0)
        if seed is not None:
            check_integer("seed", seed, low=0, high=2**32 - 1)
        if not isinstance(policy_kwargs, dict | None):
            raise TypeError(f"policy_kwargs must be a dict, got {policy_kwargs!r}")
        super().__init__(
            policy,
            None,  # type: ignore[arg-type]  # _adopt_env: SB3 asserts bounds that TDAC does not need
            learning_rate=learning_rate,  # type: ignore[arg-type]
            n_steps=n_steps,  # type: ignore[arg-type]
            gamma=gamma,
            gae_lambda=0.0,  # one step
            ent_coef=ent_coef,  # type: ignore[arg-type]
            vf_coef=1.0,  # the critic has a loss of its own
            max_grad_norm=max_grad_norm,  # type: ignore[arg-type]
            use_sde=False,
            sde_sample_freq=-1,
            stats_window_size=stats_window_size,
            tensorboard_log=tensorboard_log,
            policy_kwargs=policy_kwargs,
            verbose=verbose,
            seed=seed,
            device=device,
            _init_setup_model=False,
        )
        self.critic_learning_rate = critic_learning_rate
        self.actor_warmup = actor_warmup
        self.normalize_advantage = normalize_advantage
        self.scale_advantage = scale_advantage
        self.normalize_reward = normalize_reward
        self.normalize_observation = normalize_observation
        self.critic_gradient = critic_gradient
        self.critic_first = critic_first
        self.critic_steps = critic_steps
        self.loss_reduction = loss_reduction
        self.discount_states = discount_states
        self._elapsed_steps = np.zeros(0, np.int64)
        self._discounted_return = np.zeros(0)
        self.fast_path = fast_path
        if env is not None:
            self._adopt_env(env)
        if _init_setup_model:
            self._setup_model()

    def _setup_model(self) -> None:
        if self.n_steps is None:
            self.n_steps = max(1, DEFAULT_BATCH // self.n_envs)
        self._check_arguments()
        self._setup_lr_schedule()
        self.rollout_buffer = TransitionBuffer(
            self.n_steps, self.n_envs, self.observation_space, self.action_space
        )
        with self._seeded(self.seed):
            self.policy = self.policy_class(  # type: ignore[assignment]
                self.observation_space,
                self.action_space,
                self.lr_schedule,
                critic_lr_schedule=self.critic_lr_schedule,
                normalize_observation=self.normalize_observation,
                **self.policy_kwargs,
            ).to(self.device)
        self.return_stats = RunningMeanStd((), memory=RETURN_MEMORY).double()
        self.advantage_stats = RunningRootMeanSquare().to(self.device)
        if len(self._elapsed_steps) != self.n_envs:
            self._elapsed_steps = np.zeros(self.n_envs, np.int64)
            self._discounted_return = np.zeros(self.n_envs)
        self._maybe_recommend_cpu("TDACPolicy")

    def _check_arguments(self) -> None:
        check_real("actor_warmup", self.actor_warmup, low=0.0, high=1.0)
        check_integer("n_steps", self.n_steps, low=1)
        check_real("gamma", self.gamma, low=0.0, high=1.0)
        if self.max_grad_norm is not None:
            check_real("max_grad_norm (None: no clipping)", self.max_grad_norm, 0.0, open_low=True)
        check_integer("critic_steps", self.critic_steps, low=1)
        check_integer("stats_window_size", self._stats_window_size, low=1)
        check_word("critic_gradient", self.critic_gradient, ("semi", "residual"))
        check_word("loss_reduction", self.loss_reduction, ("sum", "mean"))
        for name in (
            "normalize_advantage",
            "scale_advantage",
            "normalize_reward",
            "normalize_observation",
            "critic_first",
            "discount_states",
            "fast_path",
        ):
            check_bool(name, getattr(self, name))
        if self.normalize_advantage and self.n_steps * self.n_envs == 1:
            raise ValueError(
                "normalize_advantage=True needs n_steps * n_envs > 1, got 1: "
                "one advantage has no std; raise n_steps"
            )

    def collect_rollouts(  # type: ignore[override]
        self,
        env: VecEnv,
        callback: BaseCallback,
        rollout_buffer: TransitionBuffer,
        n_rollout_steps: int,
    ) -> bool:
        """Fill the buffer. Neither the critic nor a density is evaluated.

        In the callback's locals, ``actions`` are as sampled, in the units that
        ``policy.evaluate_actions`` takes, and ``clipped_actions`` what the environment got.

        :param env: training environment
        :param callback: called at every step
        :param rollout_buffer: where the transitions go
        :param n_rollout_steps: steps of each environment
        :return: False if the callback stopped the training
        :raises ValueError: if a reward, observation or action is not finite, or beyond 1e15
        :raises RuntimeError: if the process of an environment died
        """
        assert self._last_obs is not None and self._last_episode_starts is not None
        self._set_training_mode(False)
        rollout_buffer.reset()
        keep_statistics(self)
        callback.on_rollout_start()
        self._is_in_rollout = True
        for _ in range(n_rollout_steps):
            obs_tensor = self._as_tensor(self._last_obs)
            clipped_actions = actions = self._sample(obs_tensor)
            if isinstance(self.action_space, spaces.Box):
                clipped_actions = self.policy.unscale_action(actions)
            try:
                new_obs, rewards, dones, infos = env.step(clipped_actions)
            except Exception as error:
                blame(self, env, error)
            check_originals(self, dones)

            self.num_timesteps += env.num_envs
            callback.update_locals(locals())
            if not callback.on_step():
                return False
            self._elapsed_steps = np.where(self._last_episode_starts, 0, self._elapsed_steps + 1)
            step = self._last_obs, actions, rewards, dones, infos, self._elapsed_steps
            try:
                self._update_info_buffer(infos, dones)
                rollout_buffer.add(*step)
            except Exception:
                check_step(self, rewards, dones, infos)
                raise
            self._last_obs, self._last_episode_starts = new_obs, dones
        if self._kernels is None or not rollout_buffer.holds(new_obs):
            check_observations(self, new_obs)  # the kernels look at others themselves
        rollout_buffer.finish(new_obs)
        check_rollout(self, rollout_buffer)
        self._is_in_rollout = False
        if self.normalize_reward:
            self._normalize_rewards(rollout_buffer)
        callback.update_locals(locals())
        callback.on_rollout_end()
        return True

    def _as_tensor(self, obs: Any) -> Any:
        try:
            return obs_as_tensor(obs, self.device)
        except Exception:  # an array of objects; of older versions of SB3 anything else, too
            check_observations(self, obs)
            raise

    def _sample(self, obs: PyTorchObs) -> NDArray[Any]:
        """Draw (n_envs, *action shape) actions, in the units of ``evaluate_actions``."""
        if self._kernels is None or (self._is_watched and not self._kernels.can_sample()):
            self._choose_path()
        if self._kernels is not None:
            actions = self._kernels.sample(self._last_obs)
        else:
            actions = self._sample_by_torch(obs)
        return actions.reshape(-1, *self.action_space.shape)  # type: ignore[misc]

    def _sample_by_torch(self, obs: PyTorchObs) -> NDArray[Any]:
        check_observations(self, self._last_obs)
        try:
            with torch.inference_mode():
                actions: NDArray[Any] = self.policy.sample(obs, self.generator).cpu().numpy()
        except (RuntimeError, ValueError):  # of probabilities that are not finite
            check_parameters(self)
            with torch.inference_mode():
                outputs = self.policy.action_net(self.policy._actor_latent(obs))
            check_actions(self, outputs.cpu().numpy())
            raise
        check_actions(self, actions)
        return actions

    def _normalize_rewards(self, rollout_buffer: TransitionBuffer) -> None:
        """Divide the rewards by the root mean square of recent discounted returns, clip to +-10."""
        self.return_stats.memory = max(RETURN_MEMORY, RETURN_SHARE * self.num_timesteps)
        if self._kernels is not None:
            self._kernels.normalize_rewards(
                rollout_buffer, self._discounted_return, self.return_stats
            )
            return
        returns = np.empty_like(rollout_buffer.rewards, np.float64)
        discount = self.gamma * (rollout_buffer.elapsed_steps > 0)
        for step, rewards in enumerate(rollout_buffer.rewards):
            returns[step] = self._discounted_return = (
                discount[step] * self._discounted_return + rewards
            )
        stats = self.return_stats
        mean, var, count = stats.mean.numpy(), stats.var.numpy(), stats.count.numpy()
        update_moments(mean, var, count, returns.reshape(-1), stats.memory)
        scaled = rollout_buffer.rewards / math.sqrt(var + mean**2 + EPSILON)
        np.minimum(np.maximum(scaled, -CLIP), CLIP, out=rollout_buffer.rewards)

    def _setup_learn(self, *args: Any, **kwargs: Any) -> tuple[int, BaseCallback]:
        if self._kernels is not None and not self._kernels.can_update():
            self._choose_path()
        return super()._setup_learn(*args, **kwargs)

    def _choose_path(self) -> None:
        """Take the fast path if it computes what the general one does with the policy as it is."""
        if self._path is not None and self._kernels is None:
            return
        if not self.fast_path:
            reason: str | None = "fast_path=False"
        elif type(self) is not TDAC:
            reason = f"{type(self).__name__} is a subclass of TDAC"
        else:
            reason = fast.why_not(self)
        self._kernels = None if reason else fast.Kernels(self)
        path = f"the general path: {reason}" if reason else "the fast path (compiled kernels)"
        if self.verbose >= 1 and path != self._path:
            print(f"Computing on {path}")
        self._path = path

    def train(self) -> None:
        """One update from the rollout: critic, advantage, actor."""
        self._update_schedules()
        if self._kernels is None or (self._is_watched and not self._kernels.can_update()):
            self._choose_path()
        try:
            if self._kernels is not None:
                self._kernels.update(self.rollout_buffer.rows())
                self._last_update = self._kernels.figures
            else:
                self._set_training_mode(True)
                self._update_or_restore(self.rollout_buffer.get(self.device))
        except NotFinite as error:
            raise failed_update(self, error) from None
        self._n_updates += 1

    def _update_or_restore(self, batch: Transitions) -> None:
        """All of an update, or nothing."""
        figures, self._guard = self._last_update, self._guard or Guard()
        self._guard.begin(self)
        try:
            self._update(batch)
            self._guard.end()
        except BaseException as error:  # Ctrl-C too
            self._last_update = figures
            self._guard.undo(error)

    def _update(self, batch: Transitions) -> None:
        policy, one_pass = self.policy, not self.critic_first and self.critic_steps == 1
        value, target = self._value_and_target(batch)  # (4.19)
        critic_loss = self._critic_loss(value, target)  # (4.20)
        if not one_pass:
            self._step(critic_loss, policy.critic_optimizer)
        for _ in range(self.critic_steps - 1):
            critic_loss = self._critic_loss(*self._value_and_target(batch))
            self._step(critic_loss, policy.critic_optimizer)
        if self.critic_first:
            with torch.no_grad():
                value, target = self._value_and_target(batch)

        advantage = self._advantage(value.detach(), target.detach(), batch)  # (4.21)
        distribution = policy.get_distribution(batch.state)  # (4.24)
        log_prob = distribution.log_prob(batch.action)  # (4.26)
        self._guard.see(log_density=log_prob)  # type: ignore[union-attr]
        loss = actor_loss = equations.actor_loss(log_prob, advantage, self.loss_reduction)  # (4.22)
        if self.ent_coef_now > 0:
            loss = loss - self.ent_coef_now * self._reduced_entropy(distribution)
        if one_pass:  # actor and critic share no parameter: one backward pass serves both
            self._step(loss + critic_loss, policy.optimizer, policy.critic_optimizer)
        else:
            self._step(loss, policy.optimizer)  # (4.23)

        policy.update_observation_stats(batch.state)
        figures = dict(critic_loss=critic_loss, actor_loss=actor_loss, value=value, target=target)
        distribution = copy.copy(distribution)  # SB3's are used again by the next action
        self._last_update = lambda: figures | _figures_of(distribution)

    def _reduced_entropy(self, distribution: Distribution) -> Tensor:
        entropy = distribution.entropy()
        assert entropy is not None
        return equations.reduce(entropy, self.loss_reduction)

    def _critic_loss(self, value: Tensor, target: Tensor) -> Tensor:
        return equations.critic_loss(value, target, self.critic_gradient, self.loss_reduction)

    def _advantage(self, value: Tensor, target: Tensor, batch: Transitions) -> Tensor:
        """(4.21), and what the options make of it."""
        advantage = equations.td_advantage(value, target)
        if self.scale_advantage:
            advantage = self.advantage_stats.scale(advantage)
        if self.normalize_advantage:
            advantage = (advantage - advantage.mean()) / (advantage.std() + 1e-8)
        if self.discount_states:
            advantage = self.gamma**batch.elapsed_steps * advantage  # (4.6)
        self._guard.see(advantage=advantage)  # type: ignore[union-attr]
        return advantage

    def _value_and_target(self, batch: Transitions) -> tuple[Tensor, Tensor]:
        """V(x) and (4.19), from one pass over all states of the rollout."""
        values = self.policy.predict_values(batch.states).flatten()
        value, next_value = values[: len(batch.reward)], values[batch.successor]
        target = equations.td_target(batch.reward, batch.terminated, next_value, self.gamma)
        self._guard.see(value=value, target=target)  # type: ignore[union-attr]
        return value, target

    def _step(self, loss: Tensor, *optimizers: torch.optim.Optimizer) -> None:
        """Clip the gradient of each network, and step; if it is not finite, no parameter moves."""
        groups = [optimizer.param_groups[0]["params"] for optimizer in optimizers]
        for parameters in groups:
            for parameter in parameters:
                parameter.grad = None  # zero_grad, without the profiler's share of it
        loss.backward()  # type: ignore[no-untyped-call]
        max_norm = math.inf if self.max_grad_norm is None else self.max_grad_norm
        norms = {
            optimizer: clip_grad_norm_(parameters, max_norm)
            for optimizer, parameters in zip(optimizers, groups, strict=True)
        }
        self._guard.see_step(loss, norms)  # type: ignore[union-attr]
        for optimizer in optimizers:
            optimizer.step()

    def dump_logs(self, iteration: int = 0) -> None:
        """Write the log, with the figures of the last update: only now they leave the device.

        :param iteration: number of rollouts, zero if it is not known
        """
        if self._last_update:
            self._record_last_update()
        super().dump_logs(iteration)

    def _record_last_update(self) -> None:
        assert self._last_update is not None
        figures = {name: tensor.detach().cpu() for name, tensor in self._last_update().items()}
        value, target = figures.pop("value"), figures.pop("target")
        figures["td_error"] = equations.td_advantage(value, target).abs()
        for name, tensor in figures.items():
            self.logger.record(f"train/{name}", tensor.mean().item())
        explained = explained_variance(value.numpy(), target.numpy())
        self.logger.record("train/explained_variance", explained)
        rate, critic_rate = (
            optimizer.param_groups[0]["lr"]
            for optimizer in (self.policy.optimizer, self.policy.critic_optimizer)
        )
        self.logger.record("train/learning_rate", rate)
        self.logger.record("train/critic_learning_rate", critic_rate)
        self.logger.record("train/n_updates", self._n_updates, exclude="tensorboard")

    def __getstate__(self) -> dict[str, Any]:
        """What copies and files hold: the kernels point into the memory of this model alone."""
        return {name: value for name, value in vars(self).items() if name not in TRANSIENT}

    def _excluded_save_params(self) -> list[str]:
        return [*super()._excluded_save_params(), "generator", *TRANSIENT]


def _figures_of(distribution: Distribution) -> dict[str, Tensor]:
    entropy = distribution.entropy()
    assert entropy is not None
    std = dict(std=distribution.std) if isinstance(distribution, DiagGaussian) else {}
    return dict(entropy=entropy) | std
