"""Bad numbers below a ``VecNormalize``, which takes them into its statistics unchecked."""

import numpy as np
from stable_baselines3.common.running_mean_std import RunningMeanStd
from stable_baselines3.common.vec_env import VecNormalize

from sb3_tdac.diagnostics.numbers import bad_observation, bad_rewards, why


class RawValues:
    """Checks raw values below a ``VecNormalize``, and can undo what they did to its statistics.

    It remembers the statistics as they are when it is made.

    :param normalizer: around the environments
    """

    def __init__(self, normalizer: VecNormalize):
        self._normalizer = normalizer
        found = [getattr(normalizer, name, None) for name in ("obs_rms", "ret_rms")]
        each = [rms for one in found for rms in (one.values() if isinstance(one, dict) else [one])]
        # an update makes new arrays, so that the old ones need no copy; norm_obs=False: no obs_rms
        self._kept: list[tuple[RunningMeanStd, dict[str, object]]] = [
            (rms, dict(vars(rms))) for rms in each if rms is not None
        ]

    def restore(self) -> None:
        """Put the statistics back to what they were."""
        for rms, numbers in self._kept:
            vars(rms).update(numbers)

    def bad_observation(self) -> tuple[int, str] | None:
        """Environment and fault of the first bad raw observation of the last step or reset."""
        space, n_envs = self._normalizer.venv.observation_space, self._normalizer.num_envs
        return bad_observation(self._normalizer.old_obs, space, n_envs)

    def bad_reward(self) -> tuple[int, str] | None:
        """Environment and fault of the first bad raw reward of the last step."""
        rewards = np.asarray(self._normalizer.old_reward, np.float64)
        return next(((env, "reward" + why(rewards[env])) for env in bad_rewards(rewards)), None)
