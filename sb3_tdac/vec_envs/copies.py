"""Copies of observations and infos, which an environment cannot change later."""

from collections.abc import Callable
from copy import deepcopy
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]
Flags = NDArray[np.bool_]
Obs = Array | dict[str, Array]
Info = dict[str, Any]
IMMUTABLE = (float, int, str, type(None), np.number, np.bool_)


def own_info(info: Info) -> Info:
    """Copy of an info; numbers and texts need no copy."""
    return {
        key: value if isinstance(value, IMMUTABLE) else deepcopy(value)
        for key, value in info.items()
    }


def map_arrays(function: Callable[[Array], Array], obs: Obs) -> Obs:
    """Apply a function to an array, or to each array of a dict."""
    if isinstance(obs, dict):
        return {key: function(rows) for key, rows in obs.items()}
    return function(obs)


def leaves(obs: Obs) -> list[Array]:
    """The arrays of an observation."""
    return list(obs.values()) if isinstance(obs, dict) else [obs]


def own_row(obs: Obs, i: int) -> Obs:
    """Copy of the observation of environment i."""
    return map_arrays(lambda rows: rows[i].copy(), obs)
