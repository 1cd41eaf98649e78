"""One-step TD advantage actor-critic for Stable-Baselines3."""

from sb3_tdac.policies import CnnPolicy, MlpPolicy, MultiInputPolicy
from sb3_tdac.tdac import TDAC, TEXTBOOK
from sb3_tdac.version import __version__

__all__ = ["TDAC", "TEXTBOOK", "CnnPolicy", "MlpPolicy", "MultiInputPolicy", "__version__"]
