"""Checks of arguments and spaces: each error names the argument, the value and the remedy."""

import math
import sys
from collections.abc import Sequence
from numbers import Integral, Real
from typing import Any

import numpy as np
from gymnasium import spaces
from stable_baselines3.common import torch_layers as layers
from stable_baselines3.common.policies import BasePolicy
from stable_baselines3.common.preprocessing import is_image_space
from stable_baselines3.common.torch_layers import BaseFeaturesExtractor
from stable_baselines3.common.vec_env import VecEnv, unwrap_vec_normalize

from sb3_tdac.aliases import Space

LEAF_SPACES = (spaces.Box, spaces.Discrete, spaces.MultiDiscrete, spaces.MultiBinary)
LEAF_NAMES = "a Box, or a Discrete, MultiDiscrete or MultiBinary of one axis that starts at 0"


def check_real(
    name: str,
    value: object,
    low: float = -math.inf,
    high: float = math.inf,
    open_low: bool = False,
) -> None:
    """Check for a finite number in [low, high], or in (low, high] with ``open_low``.

    :raises TypeError: if it is not a number
    :raises ValueError: if it is not finite or out of range
    """
    if not isinstance(value, Real) or isinstance(value, bool):
        raise TypeError(f"{name} must be a number, got {value!r} ({type(value).__name__})")
    number: Any = value  # the type Real has no comparison
    fits = low < number <= high if open_low else low <= number <= high
    if not (fits and abs(number) <= sys.float_info.max):
        interval = f"{'(' if open_low else '['}{low}, {high}]"
        raise ValueError(f"{name} must be finite and in {interval}, got {value}")


def check_integer(name: str, value: object, low: int, high: float = math.inf) -> None:
    """Check for an integer in [low, high].

    :raises TypeError: if it is not an integer
    :raises ValueError: if it is out of range
    """
    if not isinstance(value, Integral) or isinstance(value, bool):
        raise TypeError(f"{name} must be an integer, got {value!r} ({type(value).__name__})")
    if not low <= int(value) <= high:
        raise ValueError(f"{name} must be in [{low}, {high}], got {value}")


def check_bool(name: str, value: object) -> None:
    """Check for True or False.

    :raises TypeError: if it is something else
    """
    if not isinstance(value, bool):
        raise TypeError(f"{name} must be True or False, got {value!r} ({type(value).__name__})")


def check_word(name: str, value: object, words: Sequence[str]) -> None:
    """Check for one of some words.

    :raises ValueError: if it is another
    """
    if value not in words:
        choices = " or ".join(repr(word) for word in words)
        raise ValueError(f"{name} must be {choices}, got {value!r}")


def check_policy(policy: object, aliases: dict[str, type[BasePolicy]]) -> None:
    """Check for a policy with an optimizer each for actor and critic.

    :raises TypeError: if it is a class of another kind
    :raises ValueError: if it is an unknown name
    """
    if isinstance(policy, str):
        check_word("policy", policy, tuple(aliases))
    elif not (isinstance(policy, type) and issubclass(policy, aliases["MlpPolicy"])):
        raise TypeError(
            f"policy must be {' or '.join(aliases)} or a subclass of TDACPolicy, got {policy!r}"
        )


def check_spaces(observation_space: Space, action_space: Space) -> None:
    """Check that SB3's networks and distributions support the spaces.

    :raises ValueError: if a space is not supported
    """
    leaves = [observation_space]
    if isinstance(observation_space, spaces.Dict):
        leaves = list(observation_space.spaces.values())
    scalars = [leaf for leaf in leaves if isinstance(leaf, spaces.Box) and leaf.shape == ()]
    if scalars or not all(_is_supported(leaf) for leaf in leaves):
        raise ValueError(
            f"the observation_space must be {LEAF_NAMES}, or a Dict of these, got "
            f"{observation_space}: gymnasium.wrappers.FlattenObservation may help"
        )
    is_flat = not isinstance(action_space, spaces.MultiBinary) or len(action_space.shape) == 1
    if not (_is_supported(action_space) and is_flat):
        raise ValueError(
            f"the action_space must be {LEAF_NAMES}, got {action_space}: wrap the environment"
        )


def _is_supported(space: Space) -> bool:
    if isinstance(space, spaces.MultiDiscrete) and len(space.shape) != 1:
        return False
    return isinstance(space, LEAF_SPACES) and not np.any(getattr(space, "start", 0))


def check_extractor(
    observation_space: Space,
    features_extractor_class: type[BaseFeaturesExtractor],
    normalize_images: bool,
) -> None:
    """Check that the features extractor can take the observations.

    :raises ValueError: naming the policy that can
    """
    is_dict = isinstance(observation_space, spaces.Dict)
    if is_dict and features_extractor_class in (layers.FlattenExtractor, layers.NatureCNN):
        raise ValueError(
            f"policy must be 'MultiInputPolicy' for dict observations, got {observation_space}"
        )
    if not is_dict and issubclass(features_extractor_class, layers.CombinedExtractor):
        raise ValueError(
            "policy must be 'MlpPolicy' or 'CnnPolicy': 'MultiInputPolicy' is for dict "
            f"observations, got {observation_space}"
        )
    if issubclass(features_extractor_class, layers.NatureCNN) and not is_image_space(
        observation_space, check_channels=False, normalized_image=not normalize_images
    ):
        raise ValueError(
            "policy must be 'MlpPolicy': 'CnnPolicy' is for images (a uint8 Box in [0, 255] of "
            f"three axes, or normalize_images=False for floats), got {observation_space}"
        )


def check_reset_obs(obs: object, env: VecEnv) -> None:
    """Check that the observations of a reset are in the environment's space.

    Bounds do not count behind ``VecNormalize``, which leaves them.

    :param obs: one observation of each environment
    :param env: environment
    :raises ValueError: naming the space
    """
    rows = obs if isinstance(obs, dict) else {"observation": obs}
    space = env.observation_space
    leaves = space.spaces if isinstance(space, spaces.Dict) else {"observation": space}
    for key, leaf in leaves.items():
        row = np.asarray(rows[key])
        fits = row.shape == (env.num_envs, *(leaf.shape or ())) and np.isfinite(row).all()
        if fits and unwrap_vec_normalize(env) is None:
            fits = all(leaf.contains(one.astype(leaf.dtype)) for one in row)
        if not fits:
            raise ValueError(
                f"env gave an observation {key!r} outside of its observation_space {leaf}: {row}; "
                "fix the space or the environment"
            )


def check_std(std_bounds: tuple[float, float], std_init: float) -> None:
    """Check that 0 < lower <= upper, and that the initial std is between them.

    :raises TypeError: if they are not numbers
    :raises ValueError: if they are out of range
    """
    try:
        low, high = std_bounds
    except (TypeError, ValueError):
        raise TypeError(f"std_bounds must be a pair like (0.05, 1.0), got {std_bounds!r}") from None
    check_real("std_bounds[0]", low, low=0.0, open_low=True)
    if high != math.inf:
        check_real("std_bounds[1]", high)
    if low > high:
        raise ValueError(f"std_bounds must be (lower, upper), got {std_bounds}: swap them")
    check_real("std_init", std_init)
    if not low <= std_init <= high:
        raise ValueError(f"std_init must be within std_bounds {std_bounds}, got {std_init}")
