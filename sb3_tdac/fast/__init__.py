"""TDAC's update for small MLPs on a CPU: compiled kernels on the memory of torch's parameters.

Nothing else needs this folder: without it TDAC computes the same by autograd, slower.
``tests/fast`` holds that both give the same numbers.
"""

from sb3_tdac.fast.coverage import choose as choose
from sb3_tdac.fast.learner import KernelLearner as KernelLearner
