"""TDAC: the one-step temporal-difference advantage actor-critic, (4.19)-(4.26)."""

import math
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import numpy as np
import torch
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.policies import BasePolicy
from stable_baselines3.common.type_aliases import GymEnv
from stable_baselines3.common.utils import explained_variance, obs_as_tensor
from stable_baselines3.common.vec_env import VecEnv
from torch import Tensor

from sb3_tdac import equations
from sb3_tdac.aliases import Array, Kwargs, NumpyObs
from sb3_tdac.diagnostics.not_finite import check_actions, check_parameters
from sb3_tdac.diagnostics.rollout_watch import RolloutWatch
from sb3_tdac.diagnostics.snapshot import AutogradSnapshot
from sb3_tdac.diagnostics.transaction import Snapshot, Transaction
from sb3_tdac.learner import AutogradLearner, Learner, Options, Update
from sb3_tdac.normalization import RunningMeanStd, RunningRootMeanSquare
from sb3_tdac.policies import CnnPolicy, MlpPolicy, MultiInputPolicy, TDACPolicy
from sb3_tdac.sb3_adapter import TwoOptimizerAlgorithm
from sb3_tdac.schedules import ScheduleArgument
from sb3_tdac.transitions import TransitionBuffer
from sb3_tdac.validation import check_bool, check_integer, check_policy, check_real, check_word

if TYPE_CHECKING:
    from sb3_tdac.fast import KernelLearner

#: Transitions of an update if ``n_steps`` is not given.
DEFAULT_BATCH = 32
#: Window of the statistics of returns: this share of the steps so far, at least so many. They soon
#: forget a bad start, and later change little.
RETURN_SHARE, RETURN_MEMORY = 0.1, 1_000
#: Attributes that are not copied or saved: they point into the memory of one model.
TRANSIENT = ("_learner", "_learner_parts", "_transaction", "_path", "_last_update")
#: Keyword arguments without TDAC's additions: (4.19)-(4.26) alone. The optimizer and the learning
#: rates stay free.
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
    _learner: Learner | None = None
    _learner_parts: tuple[object, ...] = ()
    _transaction: Transaction
    _path: str | None = None
    _last_update: Update | None = None

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
        policy_kwargs: Kwargs | None = None,
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
        arguments: dict[str, Any] = dict(  # SB3's types allow neither None nor schedules here
            policy=policy,
            env=None,  # _adopt_env takes it: SB3 asserts bounds that TDAC does not need
            learning_rate=learning_rate,
            n_steps=n_steps,
            gamma=gamma,
            gae_lambda=0.0,  # one step
            ent_coef=ent_coef,
            vf_coef=1.0,  # the critic has a loss of its own
            max_grad_norm=max_grad_norm,
            use_sde=False,
            sde_sample_freq=-1,
            stats_window_size=stats_window_size,
            tensorboard_log=tensorboard_log,
            policy_kwargs=policy_kwargs,
            verbose=verbose,
            seed=seed,
            device=device,
        )
        super().__init__(**arguments, _init_setup_model=False)
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
            self.policy = self.policy_class(
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
        """Fill the buffer with the current actor; return False if the callback stops it."""
        watch = self._begin_rollout(env, callback, rollout_buffer)
        for _ in range(n_rollout_steps):
            if self._is_watched:  # callbacks find it among the locals, as in SB3
                obs_tensor = obs_as_tensor(self._last_obs, self.device)
            actions = self._act(self._last_obs)
            clipped_actions = self.policy.unscale_action(actions)  # in the environment's units
            new_obs, rewards, dones, infos = watch.step(clipped_actions)
            self.num_timesteps += env.num_envs
            callback.update_locals(locals())
            if not callback.on_step():
                return False
            self._elapsed_steps = np.where(self._last_episode_starts, 0, self._elapsed_steps + 1)
            self._update_info_buffer(infos, dones)
            rollout_buffer.add(self._last_obs, actions, rewards, dones, infos, self._elapsed_steps)
            self._last_obs, self._last_episode_starts = new_obs, dones
        rollout_buffer.finish(new_obs)
        watch.check_rollout(rollout_buffer)
        self._end_rollout(rollout_buffer)
        callback.update_locals(locals())
        callback.on_rollout_end()
        return True

    def train(self) -> None:
        """Make one update from the rollout: critic, advantage, actor."""
        self._update_schedules()
        self._set_training_mode(True)
        learner = self._current_learner()
        # as they are now: a callback may have changed them
        options = Options._make(getattr(self, name) for name in Options._fields)
        with self._transaction:
            self._last_update = learner.update(self.rollout_buffer.rows(), options)
        self._n_updates += 1

    def _setup_learn(self, *args: Any, **kwargs: Any) -> tuple[int, BaseCallback]:
        """Do what SB3 does; the user may have changed the model since the last training."""
        if not self._is_current():
            self._learner = None
        return super()._setup_learn(*args, **kwargs)

    def _begin_rollout(
        self, env: VecEnv, callback: BaseCallback, rollout_buffer: TransitionBuffer
    ) -> RolloutWatch:
        """Prepare the buffer and the policy, and return the watch of the environments."""
        assert self._last_obs is not None and self._last_episode_starts is not None
        self._set_training_mode(False)
        rollout_buffer.reset()
        watch = self._watch(env)
        callback.on_rollout_start()
        self._is_in_rollout = True
        return watch

    def _end_rollout(self, rollout_buffer: TransitionBuffer) -> None:
        """Mark the rollout as complete, and scale its rewards."""
        self._is_in_rollout = False
        if self.normalize_reward:
            self.return_stats.memory = max(RETURN_MEMORY, RETURN_SHARE * self.num_timesteps)
            buffer, returns = rollout_buffer, self._discounted_return
            self._current_learner().normalize_rewards(
                buffer.rewards, buffer.elapsed_steps, self.gamma, returns, self.return_stats
            )

    def _act(self, obs: NumpyObs) -> Array:
        """Draw (n_envs, *action shape) actions; refuse those that are not finite.

        :raises ValueError: naming the parameter that is the cause, or the environment
        """
        try:
            actions = self._current_learner(actor_only=True).act(obs)
        except (RuntimeError, ValueError):  # torch does not sample from probabilities like NaN
            check_parameters(self.policy, self._location())
            check_actions(self._logits(obs), self.policy, self._location())
            raise
        if not math.isfinite(np.vdot(actions, actions)):  # quick; its square may overflow, too
            check_actions(actions, self.policy, self._location())
        return actions.reshape(-1, *(self.action_space.shape or ()))

    def _logits(self, obs: NumpyObs) -> Array:
        with torch.inference_mode():
            return self.policy.action_outputs(obs_as_tensor(obs, self.device)).cpu().numpy()

    def _current_learner(self, actor_only: bool = False) -> Learner:
        """The learner, or a new one if the user replaced something that it computes with."""
        if self._learner is None or (self._is_watched and not self._is_current(actor_only)):
            self._learner, self._learner_parts = self._choose_learner(), self._parts()
        return self._learner

    def _is_current(self, actor_only: bool = False) -> bool:
        """Whether the learner still computes with the parts of this model."""
        learner, parts = self._learner, self._learner_parts
        return learner is not None and self._parts() == parts and learner.is_current(actor_only)

    def _parts(self) -> tuple[object, ...]:
        """The parts of the model that a learner is built from."""
        sizes = self.n_steps, self.n_envs
        return self.policy, self.advantage_stats, *sizes, self.generator, self.fast_path

    def _choose_learner(self) -> Learner:
        """Choose the compiled kernels if they compute the same as autograd for this policy."""
        found = self._kernel_learner()
        if isinstance(found, str):
            path, stats = f"the general path: {found}", self.advantage_stats
            autograd = AutogradLearner(self.policy, stats, self.generator, self.device)
            learner: tuple[Learner, Snapshot] = autograd, AutogradSnapshot(autograd)
        else:
            path, learner = "the fast path (compiled kernels)", (found, found.snapshot)
        self._transaction = Transaction(learner[1], self.policy, self._location)
        if self.verbose >= 1 and path != self._path:
            print(f"Computing on {path}")
        self._path = path
        return learner[0]

    def _kernel_learner(self) -> "KernelLearner | str":
        """The learner with compiled kernels, or the reason why it cannot be used."""
        if not self.fast_path:
            return "fast_path=False"
        if type(self) is not TDAC:
            return f"{type(self).__name__} is a subclass of TDAC"
        try:
            from sb3_tdac import fast
        except ImportError as error:
            return f"sb3_tdac is installed without its folder fast ({error})"
        return fast.choose(
            self.policy, self.advantage_stats, self.n_steps, self.n_envs, self.generator
        )

    def dump_logs(self, iteration: int = 0) -> None:
        """Write the log, with the results of the last update, which leave the device only now.

        :param iteration: number of rollouts, zero if it is not known
        """
        if self._last_update is not None:
            self._record({k: v.cpu() for k, v in self._last_update.figures().items()})
        super().dump_logs(iteration)

    def _record(self, figures: dict[str, Tensor]) -> None:
        value, target = figures.pop("value"), figures.pop("target")
        figures["td_error"] = equations.td_advantage(value, target).abs()
        for name, tensor in figures.items():
            self.logger.record(f"train/{name}", tensor.mean().item())
        explained = explained_variance(value.numpy(), target.numpy())
        self.logger.record("train/explained_variance", explained)
        for name in ("", "critic_"):
            optimizer = getattr(self.policy, f"{name}optimizer")
            self.logger.record(f"train/{name}learning_rate", optimizer.param_groups[0]["lr"])
        self.logger.record("train/n_updates", self._n_updates, exclude="tensorboard")

    def __getstate__(self) -> dict[str, Any]:
        """The attributes for copies and files."""
        return {name: value for name, value in vars(self).items() if name not in TRANSIENT}

    def _excluded_save_params(self) -> list[str]:
        return [*super()._excluded_save_params(), *TRANSIENT]
