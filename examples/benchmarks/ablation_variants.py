"""The changes of the ablation: alternatives of each open choice, and the text's own recipe."""

import inspect
import math
from typing import Any

import gymnasium as gym
import numpy as np
import torch
from gymnasium import spaces
from torch import nn

from sb3_tdac import TDAC, TEXTBOOK, MlpPolicy

Change = dict[str, Any]

#: Changes outside of the model: see ``LimitIsEnd`` and ``clip_stored_actions``.
OUTSIDE: Change = dict(limit_is_end=False, clip_stored_actions=False, n_envs=8)
_POLICY = inspect.signature(MlpPolicy.__init__).parameters
_MODEL = inspect.signature(TDAC.__init__).parameters
#: Defaults of the constructor and of ``policy_kwargs``.
DEFAULTS: Change = {
    name: parameter.default
    for name, parameter in {**_POLICY, **_MODEL}.items()
    if parameter.default is not inspect.Parameter.empty
} | OUTSIDE
#: Changes without effect on discrete actions.
GAUSSIAN = {"std_bounds", "std_init", "scale_actions", "clip_stored_actions"}


class LimitIsEnd(gym.Wrapper[Any, Any, Any, Any]):
    """Reports a time limit as the end of the episode, as textbook code does."""

    def step(self, action: Any) -> tuple[Any, Any, bool, bool, dict[str, Any]]:
        obs, reward, terminated, truncated, info = self.env.step(action)
        return obs, reward, terminated or truncated, False, info


def clip_stored_actions(model: TDAC) -> None:
    """Makes a model store actions after clipping, and compute their density."""
    buffer, space = model.rollout_buffer, model.action_space
    if not isinstance(space, spaces.Box):
        return
    low, high = space.low, space.high
    if model.policy.scale_actions and space.is_bounded():
        low, high = -np.ones_like(low), np.ones_like(high)
    add = buffer.add
    buffer.add = lambda obs, actions, *others: add(obs, np.clip(actions, low, high), *others)


def other_schedule(name: str) -> Change:
    """A constant instead of a linear schedule, or a linear schedule instead of a constant."""
    value = DEFAULTS[name]
    if value is None:
        return {}
    linear = isinstance(value, str)
    return {name: float(value.removeprefix("lin_")) if linear else f"lin_{value}"}


#: The alternatives of each open choice, each one change of the constructor's defaults.
#: ``variants`` leaves out an alternative that is the default.
ALTERNATIVES: dict[str, list[Change]] = {
    "end of an episode": [dict(limit_is_end=True)],
    "gradient of (4.20)": [dict(critic_gradient=word) for word in ("semi", "residual")],
    "order": [dict(critic_first=yes) for yes in (True, False)],
    "sum or mean": [dict(loss_reduction=word) for word in ("sum", "mean")],
    "factor γ^t": [dict(discount_states=yes) for yes in (True, False)],  # noqa: RUF001
    "density of": [dict(clip_stored_actions=True)],
    "units of the action": [dict(scale_actions=yes) for yes in (True, False)],
    "std": [dict(std_bounds=bounds) for bounds in ((1e-6, math.inf), (0.05, 1.0), (0.2, 1.0))],
    "entropy": [dict(ent_coef=0.0), other_schedule("ent_coef")],
    "networks": [dict(max_grad_norm=norm) for norm in (None, 0.1, 0.5)]
    + [dict(ortho_init=yes) for yes in (True, False)]
    + [dict(activation_fn=function) for function in (nn.Tanh, nn.ReLU)],
    "actor's start": [dict(actor_warmup=part) for part in (0.0, 0.1, 0.4)],
    "scale of the advantage": [
        dict(scale_advantage=scale, normalize_advantage=normalize)
        for scale, normalize in ((True, False), (False, False), (False, True))
    ],
    "scale of the reward": [dict(normalize_reward=yes) for yes in (True, False)],
    "scale of the observations": [dict(normalize_observation=yes) for yes in (True, False)],
    "critic steps": [dict(critic_steps=count) for count in (1, 2, 4, 8)],
    "optimizer": [
        dict(optimizer_kwargs=dict(betas=(0.0, 0.99), eps=1e-5)),
        dict(optimizer_kwargs=dict(betas=(0.9, 0.999), eps=1e-5)),
        dict(optimizer_class=torch.optim.RMSprop),
        dict(optimizer_class=torch.optim.SGD),
    ],
    "rates": [other_schedule("learning_rate") | other_schedule("critic_learning_rate")],
    "discount": [dict(gamma=gamma) for gamma in (0.95, 0.97, 0.99)],
    "rows of an update": [dict(n_steps=n_steps) for n_steps in (1, 2, 8)],
}

#: Batches of 32 from one environment, Adam with 1e-4 and 1e-3, ReLU 64-32-16.
RECIPE: Change = {key: value for key, value in TEXTBOOK.items() if key != "policy_kwargs"}
RECIPE |= TEXTBOOK["policy_kwargs"]
RECIPE |= dict(learning_rate=1e-4, critic_learning_rate=1e-3, n_steps=32, n_envs=1)
RECIPE |= dict(net_arch=[64, 32, 16], activation_fn=nn.ReLU)
RECIPE |= dict(optimizer_class=torch.optim.Adam, optimizer_kwargs={}, fast_path=True)
TEXT: dict[str, Change] = {
    "recipe, time limits are ends, clipped actions": RECIPE
    | dict(limit_is_end=True, clip_stored_actions=True),
    "recipe, time limits are ends": RECIPE | dict(limit_is_end=True),
    "recipe": RECIPE,
    "recipe, entropy": RECIPE | dict(ent_coef=0.05),
    "recipe, scaled actions": RECIPE | dict(scale_actions=True),
    "recipe, scaled actions, entropy": RECIPE | dict(scale_actions=True, ent_coef=0.05),
    "recipe, scaled rewards": RECIPE | dict(normalize_reward=True),
    "recipe, 8 environments": RECIPE | dict(n_envs=8, n_steps=4),
}


def label(change: Change) -> str:
    """A change in words.

    >>> label(dict(std_bounds=(0.2, math.inf), optimizer_class=torch.optim.SGD))
    'std_bounds=(0.2, inf), optimizer_class=SGD'
    """
    words = {
        key: value.__name__ if isinstance(value, type) else value for key, value in change.items()
    }
    return ", ".join(f"{key}={value}" for key, value in words.items())


def variants() -> dict[tuple[str, str], Change]:
    """The change of each variant by open choice and name; the first variant is the defaults."""
    found: dict[tuple[str, str], Change] = {("", "defaults"): {}}
    for choice, changes in ALTERNATIVES.items():
        for change in changes:
            if any(DEFAULTS[key] != value for key, value in change.items()):
                found[choice, label(change)] = change
    return found | {("the text", name): change for name, change in TEXT.items()}


def applies(change: Change, discrete: bool) -> bool:
    """Whether a change has an effect on the actions of a problem."""
    return not change or not discrete or not set(change) <= GAUSSIAN


def arguments(change: Change) -> tuple[Change, Change]:
    """The constructor's arguments of a variant, and its changes outside of the model."""
    own = {key: value for key, value in change.items() if key in _MODEL}
    outside = {key: change.get(key, value) for key, value in OUTSIDE.items()}
    policy = {key: value for key, value in change.items() if key not in {**own, **OUTSIDE}}
    return own | (dict(policy_kwargs=policy) if policy else {}), outside
