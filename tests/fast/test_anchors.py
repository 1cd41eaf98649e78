"""Whatever is changed on a model, the fast path goes on as the general one would."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from helpers.internals import uses_kernels
from helpers.path_pairs import (
    UPDATE,
    Record,
    actions_of,
    assert_near,
    build,
    needs_library,
    state,
)
from torch import nn

from sb3_tdac import TDAC
from sb3_tdac.normalization import ObservationNormalizer


def hidden(model: TDAC) -> Any:
    return model.policy.mlp_extractor.policy_net


def statistics(model: TDAC) -> Any:
    return model.policy.observation_normalizer.stats["observation"]


def other(model: TDAC) -> TDAC:
    trained = build(False, seed=9)
    actions_of(trained, 2)
    return trained


def moments(model: TDAC) -> Any:
    return model.policy.critic_optimizer.state[model.policy.value_net.weight]


def new_data(model: TDAC) -> None:
    for parameter in model.policy.parameters():
        parameter.data = 1.2 * parameter.data


@torch.no_grad()
def in_place(model: TDAC) -> None:
    for parameter in model.policy.parameters():
        parameter.add_(0.1).mul_(1.1)


def new_layer(model: TDAC) -> None:
    torch.manual_seed(7)
    hidden(model)[0] = nn.Linear(3, 8)


def new_head_and_optimizers(model: TDAC) -> None:
    torch.manual_seed(7)
    model.policy.action_net = nn.Linear(8, 2)
    model.policy._build_optimizers(model.lr_schedule, model.critic_lr_schedule)


def new_optimizer(model: TDAC) -> None:
    parameters = model.policy.optimizer.param_groups[0]["params"]
    model.policy.optimizer = torch.optim.SGD(parameters, lr=0.1)


def new_normalizer(model: TDAC) -> None:
    model.policy.observation_normalizer = ObservationNormalizer(model.observation_space)


def clear_adam(model: TDAC) -> None:
    model.policy.critic_optimizer.state.clear()


def transpose(model: TDAC) -> None:
    hidden(model)[2].weight.data = hidden(model)[2].weight.data.t()


def double_gradient(optimizer: Any, *args: Any) -> None:
    optimizer.param_groups[0]["params"][0].grad.mul_(2.0)


def shrink(optimizer: Any, *args: Any) -> None:
    with torch.no_grad():
        optimizer.param_groups[0]["params"][0].mul_(0.9)


def double_own(parameter: Any) -> None:
    parameter.grad.mul_(2.0)


def ones(latent: Any) -> Any:
    return torch.ones(len(latent), 2)


Change = Callable[[TDAC], Any]
CHANGES: dict[str, Change] = {
    "parameters with new data": new_data,
    "parameters edited in place": in_place,
    "data edited in place": lambda m: hidden(m)[0].weight.data.mul_(1.5),
    "weight transposed": transpose,
    "set_parameters": lambda m: m.set_parameters(other(m).get_parameters()),
    "load_state_dict": lambda m: m.policy.load_state_dict(other(m).policy.state_dict()),
    "new layer": new_layer,
    "new head and optimizers": new_head_and_optimizers,
    "layers appended": lambda m: hidden(m).extend([nn.Linear(8, 8), nn.Tanh()]),
    "relu for tanh": lambda m: hidden(m).__setitem__(1, nn.ReLU()),
    "elu for tanh": lambda m: hidden(m).__setitem__(3, nn.ELU()),
    "forward of a layer": lambda m: setattr(m.policy.action_net, "forward", ones),
    "new optimizer": new_optimizer,
    "optimizer.load_state_dict": lambda m: m.policy.critic_optimizer.load_state_dict(
        other(m).policy.critic_optimizer.state_dict()
    ),
    "optimizer cleared": clear_adam,
    "new moments": lambda m: moments(m).update(exp_avg_sq=9 * moments(m)["exp_avg_sq"]),
    "moments in place": lambda m: moments(m)["exp_avg_sq"].mul_(9),
    "betas": lambda m: m.policy.critic_optimizer.param_groups[0].update(betas=(0.5, 0.9)),
    "weight decay": lambda m: m.policy.optimizer.param_groups[0].update(weight_decay=0.5),
    "frozen": lambda m: hidden(m)[0].weight.requires_grad_(False),
    "forward hook": lambda m: m.policy.action_net.register_forward_hook(lambda *a: 0.5 * a[2]),
    "forward pre-hook": lambda m: hidden(m)[2].register_forward_pre_hook(
        lambda module, inputs: (0.5 * inputs[0],)
    ),
    "backward hook": lambda m: m.policy.value_net.register_full_backward_hook(
        lambda module, inner, outer: (2.0 * inner[0],)
    ),
    "hook of a parameter": lambda m: hidden(m)[0].weight.register_hook(lambda g: 2.0 * g),
    "hook after accumulation": lambda m: hidden(m)[0].weight.register_post_accumulate_grad_hook(
        double_own
    ),
    "pre-hook of the optimizer": lambda m: m.policy.optimizer.register_step_pre_hook(
        double_gradient
    ),
    "hook of the optimizer": lambda m: m.policy.optimizer.register_step_post_hook(shrink),
    "observation mean": lambda m: statistics(m).mean.add_(1.0),
    "new observation variance": lambda m: setattr(statistics(m), "var", 9.0 * statistics(m).var),
    "new normalizer": new_normalizer,
    "no normalizer": lambda m: setattr(m.policy, "normalize_observation", False),
    "advantage statistics": lambda m: m.advantage_stats.mean_square.mul_(4.0),
    "return statistics": lambda m: m.return_stats.var.mul_(4.0),
    "std bounds": lambda m: setattr(m.policy, "std_bounds", (0.55, 0.7)),
    "gamma": lambda m: setattr(m, "gamma", 0.5),
    "gradient norm": lambda m: setattr(m, "max_grad_norm", 0.01),
}


def run(fast_path: bool, change: Change | None, in_rollout: bool) -> tuple[np.ndarray, Any, TDAC]:
    """Six updates with a change between the second and third, or in the middle of the third."""
    model = build(fast_path)
    record = Record(change if in_rollout else None, at=2 * UPDATE + UPDATE // 2)
    actions_of(model, 2)
    assert uses_kernels(model) == fast_path
    if change and not in_rollout:
        change(model)
    actions = actions_of(model, 4, record)
    return actions, state(model), model


@needs_library
@pytest.mark.parametrize("in_rollout", [False, True])
@pytest.mark.parametrize("change", CHANGES)
def test_a_changed_model_goes_on_as_on_the_general_path(change: str, in_rollout: bool) -> None:
    runs = [run(fast_path, CHANGES[change], in_rollout) for fast_path in (False, True)]
    np.testing.assert_allclose(runs[1][0], runs[0][0], rtol=0, atol=1e-5)
    assert_near(runs[0][1], runs[1][1])
    unchanged = run(False, None, in_rollout)[1]  # else the test could not fail
    with pytest.raises(AssertionError):
        assert_near(unchanged, runs[0][1], tolerance=1e-4)


@needs_library
@pytest.mark.parametrize("in_rollout", [False, True])
def test_parameters_may_move_to_other_memory(in_rollout: bool) -> None:
    def move(model: TDAC) -> None:
        model.policy.double().float()

    runs = [run(fast_path, move, in_rollout) for fast_path in (False, True)]
    np.testing.assert_allclose(runs[1][0], runs[0][0], rtol=0, atol=1e-5)
    assert_near(runs[0][1], runs[1][1])


@pytest.mark.parametrize("fast_path", [False, pytest.param(True, marks=needs_library)])
@pytest.mark.parametrize("in_rollout", [False, True])
def test_torch_refuses_float64_on_both_paths(fast_path: bool, in_rollout: bool) -> None:
    """The state of Adam is float32: memory of the wrong size is read by neither."""
    with pytest.raises(RuntimeError, match="expected scalar type Double but found Float"):
        run(fast_path, lambda model: model.policy.double(), in_rollout)


@needs_library
def test_a_scheduler_of_the_optimizer_sees_its_steps() -> None:
    """Torch warns of a scheduler whose optimizer made no step, and warnings are errors here."""
    model = build(True)
    actions_of(model, 1)
    scheduler = torch.optim.lr_scheduler.ConstantLR(model.policy.optimizer)
    actions_of(model, 1)
    scheduler.step()


@needs_library
def test_a_hook_of_all_modules_is_called() -> None:
    model, called = build(True), []
    actions_of(model, 1)
    handle = nn.modules.module.register_module_forward_hook(lambda *args: called.append(args[0]))
    try:
        actions_of(model, 1)
    finally:
        handle.remove()
    assert model.policy.value_net in called
