"""The numbers of a model: networks, optimizers and statistics; and comparisons of two states."""

import io
from typing import Any

import numpy as np
import torch

from sb3_tdac import TDAC

State = dict[str, np.ndarray]


def numbers(tree: Any, path: str = "") -> State:
    """Copies of the tensors and numbers of nested dicts and lists, by their path."""
    if isinstance(tree, dict | list | tuple):
        items = tree.items() if isinstance(tree, dict) else enumerate(tree)
        return {k: v for key, sub in items for k, v in numbers(sub, f"{path}/{key}").items()}
    if torch.is_tensor(tree):
        tree = tree.detach().cpu().numpy()
    return {} if tree is None else {path: np.array(tree, np.float64)}


def state(model: TDAC) -> State:
    """Copies of all numbers that ``get_parameters`` returns."""
    return numbers(model.get_parameters())


def state_of_update(model: TDAC) -> State:
    """Only the numbers that an update changes: not the learning rates or the scale of rewards."""
    others = (
        "/return_stats",
        "/policy.optimizer/param_groups",
        "/policy.critic_optimizer/param_groups",
    )
    return {path: value for path, value in state(model).items() if not path.startswith(others)}


def differences(one: State, other: State) -> list[str]:
    """Paths of the numbers that differ in a bit, or that only one of the states has."""
    return [
        path
        for path in sorted(one.keys() | other.keys())
        if not (path in one and path in other)
        or not np.array_equal(one[path], other[path], equal_nan=True)
    ]


def assert_identical(one: State, other: State) -> None:
    """Bit for bit."""
    assert differences(one, other) == []


def file_of(model: Any) -> bytes:
    """Content of the file that ``save`` writes."""
    model.save(file := io.BytesIO())
    return file.getvalue()


def assert_saved_and_finite(model: TDAC) -> None:
    """All numbers are finite, and a saved file restores them."""
    now = state(model)
    assert [path for path, value in now.items() if not np.isfinite(value).all()] == []
    assert_identical(state(TDAC.load(io.BytesIO(file_of(model)), device="cpu")), now)
