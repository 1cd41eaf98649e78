"""The former place of ``GymnasiumVecEnv``, which is now in ``sb3_tdac.vec_envs``."""

from sb3_tdac.vec_envs import GymnasiumVecEnv as GymnasiumVecEnv
