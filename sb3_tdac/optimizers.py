"""Building the optimizers of actor and critic: quickly, and with TDAC's defaults."""

import inspect
from collections.abc import Iterable
from functools import partial
from typing import Any

import torch
from torch import Tensor


def make_optimizer(
    optimizer_class: type[torch.optim.Optimizer], parameters: Iterable[Tensor], **kwargs: Any
) -> torch.optim.Optimizer:
    """Build an optimizer without importing torch's compiler.

    A decorator of ``add_param_group`` imports it at the first call, which takes longer than TDAC
    needs for Pendulum-v1. Code that is not compiled does not need the decorator.

    :param optimizer_class: class of the optimizer
    :param parameters: what it steps
    :param kwargs: the other arguments of the class
    :return: the optimizer
    """
    add_param_group = torch.optim.Optimizer.add_param_group
    if getattr(optimizer_class, "add_param_group", None) is not add_param_group:
        return optimizer_class(parameters, **kwargs)
    optimizer = optimizer_class.__new__(optimizer_class)
    vars(optimizer)["add_param_group"] = partial(inspect.unwrap(add_param_group), optimizer)
    # the constructor calls add_param_group, which this instance has without the decorator
    optimizer.__init__(parameters, **kwargs)  # type: ignore[misc]
    del vars(optimizer)["add_param_group"]
    return optimizer


def default_optimizer_kwargs(optimizer_class: type[torch.optim.Optimizer]) -> dict[str, Any]:
    """TDAC's arguments of Adam (no momentum) and of RMSprop (A2C's).

    Adam without momentum is RMSprop with a corrected start. ``fused`` and ``foreach`` update all
    parameters at once.
    """
    if optimizer_class is torch.optim.Adam:
        return {"betas": (0.0, 0.999), "eps": 1e-5, "fused": True}
    if optimizer_class is torch.optim.RMSprop:
        return {"alpha": 0.99, "eps": 1e-5, "foreach": True}
    return {}
