"""Bad numbers below a ``VecNormalize``, which takes them into its statistics unchecked."""

import numpy as np
from stable_baselines3.common.running_mean_std import RunningMeanStd
from stable_baselines3.common.vec_env import VecEnv, unwrap_vec_normalize

from sb3_tdac.diagnostics.numbers import bad_observation, bad_rewards, why


class RawValues:
    """Checks raw values below a ``VecNormalize``, and can undo what they did to its statistics.

    It remembers the statistics as they are when it is made.

    :param env: environments, with or without a ``VecNormalize``
    """

    def __init__(self, env: VecEnv):
        self.normalizer = unwrap_vec_normalize(env)
        names = () if self.normalizer is None else ("obs_rms", "ret_rms")
        found = [getattr(self.normalizer, name, None) for name in names]  # norm_obs=False: none
        each = [rms for one in found for rms in (one.values() if isinstance(one, dict) else [one])]
        # an update makes new arrays, so that the old ones need no copy
        self._kept: list[tuple[RunningMeanStd, dict[str, object]]] = [
            (rms, dict(vars(rms))) for rms in each if rms is not None
        ]

    def restore(self) -> None:
        """Put the statistics back to what they were."""
        for rms, numbers in self._kept:
            vars(rms).update(numbers)

    def bad_observation(self) -> tuple[int, str] | None:
        """Environment and fault of the first bad raw observation of the last step or reset."""
        if self.normalizer is None:
            return None
        space = self.normalizer.venv.observation_space
        return bad_observation(self.normalizer.old_obs, space, self.normalizer.num_envs)

    def bad_reward(self) -> tuple[int, str] | None:
        """Environment and fault of the first bad raw reward of the last step."""
        if self.normalizer is None:
            return None
        rewards = np.asarray(self.normalizer.old_reward, np.float64)
        return next(((env, "reward" + why(rewards[env])) for env in bad_rewards(rewards)), None)
