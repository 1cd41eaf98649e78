"""Short names for types that NumPy, gymnasium and SB3 leave generic."""

from typing import Any, TypeAlias

from gymnasium import spaces
from numpy.typing import NDArray

Array: TypeAlias = NDArray[Any]
#: Observations of several environments, as a ``VecEnv`` returns them.
NumpyObs: TypeAlias = Array | dict[str, Array]
#: The info of one environment and step.
Info: TypeAlias = dict[str, Any]
#: Keyword arguments that are passed on.
Kwargs: TypeAlias = dict[str, Any]
Space: TypeAlias = spaces.Space[Any]
