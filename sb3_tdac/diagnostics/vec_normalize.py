"""What a ``VecNormalize`` was given: it takes numbers into its statistics before anybody looks."""

from typing import Any

import numpy as np

from sb3_tdac.diagnostics.location import next_step, place, place_of_error
from sb3_tdac.diagnostics.numbers import bad_observation, bad_rewards, stop_for, why


def keep_statistics(model: Any) -> None:
    """Remember the statistics of a ``VecNormalize``, for when the training stops.

    It takes numbers into them before anybody else sees these.

    :param model: before a reset or a rollout
    """
    normalizer = model._vec_normalize_env
    names = () if normalizer is None else ("obs_rms", "ret_rms")
    found = [getattr(normalizer, name, None) for name in names]  # norm_obs=False: no obs_rms
    each = [rms for one in found for rms in (one.values() if isinstance(one, dict) else [one])]
    # an update makes new arrays, so that the old ones need no copy
    model._kept_statistics = [(rms, dict(vars(rms))) for rms in each if rms is not None]


def check_originals(model: Any, dones: Any = None) -> None:
    """Refuse bad numbers among those that a ``VecNormalize`` was given: one spoils all others.

    :param model: that is training
    :param dones: what the last step returned; ``None``: it was a reset
    :raises ValueError: naming environment and step
    """
    normalizer = model._vec_normalize_env
    if normalizer is None:
        return
    steps_ago = 0 if dones is None else -1
    bad = bad_observation(normalizer.old_obs, normalizer.venv.observation_space, model.n_envs)
    if bad is not None:
        env, fault = bad
        step = 0 if dones is None or dones[env] else next_step(model, env)
        stop_for(model, fault, place(model, env, step, steps_ago))
    if dones is not None:
        rewards = np.asarray(normalizer.old_reward, np.float64)
        for env in bad_rewards(rewards):
            stop_for(model, "reward" + why(rewards[env]), place_of_error(model, env))
