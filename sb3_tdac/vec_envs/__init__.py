"""Vector environments for any algorithm of SB3; nothing here depends on TDAC."""

from sb3_tdac.vec_envs.envpool import EnvPoolVecEnv
from sb3_tdac.vec_envs.gymnasium import GymnasiumVecEnv
from sb3_tdac.vec_envs.lean_dummy import LeanDummyVecEnv

__all__ = ["EnvPoolVecEnv", "GymnasiumVecEnv", "LeanDummyVecEnv"]
