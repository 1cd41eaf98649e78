"""The former place of ``EnvPoolVecEnv``, which is now in ``sb3_tdac.vec_envs``."""

from sb3_tdac.vec_envs import EnvPoolVecEnv as EnvPoolVecEnv
