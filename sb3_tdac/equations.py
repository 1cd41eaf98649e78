r"""The equations (4.19)-(4.26) as pure functions of batched tensors, in the text's order.

``B`` is the number of transitions in the batch, ``A`` the dimension of the action. Every function
raises a ``ValueError`` that names the argument when a shape does not fit: ``(B,)`` with ``(B, 1)``
would broadcast to ``(B, B)`` without a word.
"""

import math

import torch
from torch import Tensor


def td_target(reward: Tensor, terminated: Tensor, next_value: Tensor, gamma: float) -> Tensor:
    r"""(4.19) $r(x, u) + \gamma V_\phi(x')$, and $r(x, u)$ alone where the episode terminated.

    Truncation (a time limit) is not termination: there ``next_value`` belongs to the state in which
    the episode was cut, and stays in the target.

    :param reward: (B,) reward of each transition
    :param terminated: (B,) bool, true where x' is a terminal state
    :param next_value: (B,) value of the successor state x'
    :param gamma: discount factor
    :return: (B,) target of V(x)
    :raises ValueError: if shapes differ or ``terminated`` is not bool

    >>> terminated = torch.tensor([False, True])
    >>> td_target(torch.tensor([1.0, 1.0]), terminated, torch.tensor([4.0, 4.0]), gamma=0.5)
    tensor([3., 1.])
    """
    _require_batch(reward=reward, terminated=terminated, next_value=next_value)
    if terminated.dtype != torch.bool:
        raise ValueError(f"terminated must be a bool tensor, got {terminated.dtype}: use .bool()")
    return reward + gamma * next_value.masked_fill(terminated, 0.0)


def critic_loss(
    value: Tensor,
    target: Tensor,
    gradient: str = "semi",
    reduction: str = "sum",
) -> Tensor:
    r"""(4.20) $\frac{1}{2} \sum_i \| r_i + \gamma V_\phi(x_{i+1}) - V_\phi(x_i) \|^2$.

    ``"semi"``: the gradient reaches ``value`` only, the target is a constant. ``"residual"``: it
    reaches ``target`` as well, the literal gradient of (4.20). The loss is the same number.

    :param value: (B,) $V_\phi(x_i)$
    :param target: (B,) ``td_target`` of the same transitions
    :param gradient: ``"semi"`` or ``"residual"``
    :param reduction: ``"sum"`` as in the text, or ``"mean"``
    :return: () loss
    :raises ValueError: if shapes differ or a word is unknown

    >>> critic_loss(torch.tensor([1.0, 2.0]), torch.tensor([3.0, 2.0]))
    tensor(2.)
    """
    _require_batch(value=value, target=target)
    if gradient == "semi":
        target = target.detach()
    elif gradient != "residual":
        raise ValueError(f"gradient must be 'semi' or 'residual', got {gradient!r}")
    return 0.5 * reduce((target - value) ** 2, reduction)


def td_advantage(value: Tensor, target: Tensor) -> Tensor:
    r"""(4.21) $A_\phi(x, u) = r(x, u) + \gamma V_\phi(x') - V_\phi(x)$.

    The target is that of the critic, so that a terminal state has no $\gamma V(x')$ in either.

    :param value: (B,) $V_\phi(x_i)$
    :param target: (B,) ``td_target`` of the same transitions
    :return: (B,) advantage, which is also the one-step TD error
    :raises ValueError: if shapes differ

    >>> td_advantage(torch.tensor([1.0, 2.0]), torch.tensor([3.0, 2.0]))
    tensor([2., 0.])
    """
    _require_batch(value=value, target=target)
    return target - value


def actor_loss(log_prob: Tensor, advantage: Tensor, reduction: str = "sum") -> Tensor:
    r"""(4.22) $-\sum_i \log \pi_\theta(u_i | x_i) A_\phi(x_i, u_i)$; its gradient step is (4.23).

    The gradient reaches ``log_prob`` only; the advantage is a constant.

    :param log_prob: (B,) log-density of the actions that were sampled
    :param advantage: (B,) advantage of the same transitions
    :param reduction: ``"sum"`` as in the text, or ``"mean"``
    :return: () loss
    :raises ValueError: if shapes differ or the word is unknown

    >>> actor_loss(torch.tensor([-1.0, -2.0]), torch.tensor([3.0, -1.0]))
    tensor(1.)
    """
    _require_batch(log_prob=log_prob, advantage=advantage)
    return -reduce(log_prob * advantage.detach(), reduction)


def gaussian_log_prob(action: Tensor, mean: Tensor, std: Tensor) -> Tensor:
    r"""(4.26) $-\sum_j [(u_j - \mu_j)^2 / 2\sigma_j^2 + \frac{1}{2} \log(2\pi\sigma_j^2)]$.

    The logarithm of (4.24), whose factors are (4.25). ``std`` is $\sigma$, not the variance.

    :param action: (B, A) actions as sampled, not clipped
    :param mean: (B, A) $\mu_\theta(x)$
    :param std: (B, A) $\sigma_\theta(x) > 0$
    :return: (B,) log-density
    :raises ValueError: if shapes differ or are not (B, A)

    >>> zero, std = torch.zeros(1, 2), torch.full((1, 2), (2 * math.pi) ** -0.5)
    >>> gaussian_log_prob(zero, zero, std).abs().round(decimals=5)
    tensor([0.])
    """
    _require_shape(2, action=action, mean=mean, std=std)
    normalized = (action - mean) / std
    return -(0.5 * normalized**2 + std.log() + 0.5 * math.log(2 * math.pi)).sum(dim=1)


def gaussian_entropy(std: Tensor) -> Tensor:
    r"""Entropy of (4.24): $\sum_j \frac{1}{2} \log(2\pi e \sigma_j^2)$, the mean of minus (4.26).

    :param std: (B, A) $\sigma_\theta(x) > 0$
    :return: (B,) entropy in nats
    :raises ValueError: if the shape is not (B, A)

    >>> gaussian_entropy(torch.full((1, 2), (2 * math.pi * math.e) ** -0.5)).abs().round(decimals=5)
    tensor([0.])
    """
    _require_shape(2, std=std)
    return (std.log() + 0.5 * math.log(2 * math.pi * math.e)).sum(dim=1)


def reduce(terms: Tensor, reduction: str) -> Tensor:
    """Sum over the batch, as the text has it, or mean, with which learning rates carry over.

    :param terms: (B,) one term for each transition
    :param reduction: ``"sum"`` or ``"mean"``
    :return: () the reduced terms
    :raises ValueError: if the word is unknown
    """
    if reduction == "sum":
        return terms.sum()
    if reduction == "mean":
        return terms.mean()
    raise ValueError(f"reduction must be 'sum' or 'mean', got {reduction!r}")


def _require_batch(**tensors: Tensor) -> None:
    _require_shape(1, **tensors)


def _require_shape(ndim: int, **tensors: Tensor) -> None:
    first_name, first = next(iter(tensors.items()))
    for name, tensor in tensors.items():
        if tensor.dim() != ndim:
            form = ("(B,)", "(B, A)")[ndim - 1]
            raise ValueError(f"{name} must have shape {form}, got {tuple(tensor.shape)}")
        if tensor.shape != first.shape:
            raise ValueError(
                f"{name} has shape {tuple(tensor.shape)}, "
                f"but {first_name} has {tuple(first.shape)}: they must be the same"
            )
