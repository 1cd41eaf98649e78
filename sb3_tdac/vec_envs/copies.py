"""Copies of observations and infos, which an environment cannot change later."""

from copy import deepcopy
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]
Obs = Array | dict[str, Array]
Info = dict[str, Any]
IMMUTABLE = (float, int, str, type(None), np.number, np.bool_)


def own_info(info: Info) -> Info:
    """Copy of an info; numbers and texts need no copy."""
    return {
        key: value if isinstance(value, IMMUTABLE) else deepcopy(value)
        for key, value in info.items()
    }


def own_obs(obs: Obs) -> Obs:
    """Copy of the observations of all environments, an array or a dict of arrays."""
    if isinstance(obs, dict):
        return {key: np.array(rows) for key, rows in obs.items()}
    return np.array(obs)


def leaves(obs: Obs) -> list[Array]:
    """The arrays of an observation."""
    return list(obs.values()) if isinstance(obs, dict) else [obs]


def own_row(obs: Obs, i: int) -> Obs:
    """Copy of the observation of environment i."""
    if isinstance(obs, dict):
        return {key: rows[i].copy() for key, rows in obs.items()}
    row: Array = obs[i].copy()
    return row
