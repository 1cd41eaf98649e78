"""TDAC's update for small MLPs on a CPU, in NumPy on the memory of torch's parameters.

Nothing else depends on this folder: without it TDAC computes the same by autograd, slower.
``tests/test_fast.py`` holds that both give the same numbers.
"""

from sb3_tdac.fast.kernels import Kernels as Kernels
from sb3_tdac.fast.routing import why_not as why_not
