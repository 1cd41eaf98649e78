"""The former place of ``LeanDummyVecEnv``, which is now in ``sb3_tdac.vec_envs``."""

from sb3_tdac.vec_envs import LeanDummyVecEnv as LeanDummyVecEnv
