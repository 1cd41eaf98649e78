"""A number that is not finite stops an update before it reaches the model."""

import math
from typing import Any

import numpy as np
import pytest
import torch
from gymnasium import spaces
from helpers.environments import BOTH_PATHS
from helpers.faulty_environments import faulty_model
from helpers.internals import interrupt_after
from helpers.model_state import assert_identical, assert_saved_and_finite, state, state_of_update
from stable_baselines3.common.callbacks import BaseCallback
from torch import nn

from sb3_tdac import TEXTBOOK

DISCRETE = dict(action_space=spaces.Discrete(2))
RMSPROP = dict(net_arch=[8], optimizer_class=torch.optim.RMSprop)


def fails_to_update(model: Any, message: str) -> None:
    """The next update fails, and leaves the model as it was bit for bit."""
    before = state_of_update(model)
    with pytest.raises(ValueError, match=message):
        model.learn(8, reset_num_timesteps=False)
    assert_identical(state_of_update(model), before)


@BOTH_PATHS
@pytest.mark.parametrize("network", ["actor", "critic"])
@pytest.mark.parametrize(
    "options", [{}, dict(policy_kwargs=RMSPROP), TEXTBOOK], ids=["adam", "rmsprop", "textbook"]
)
@pytest.mark.parametrize("env", [{}, DISCRETE], ids=["box", "discrete"])
def test_a_step_that_overflows_leaves_the_model_of_the_last_update(
    network: str, options: dict[str, Any], env: Any, fast_path: bool
) -> None:
    """The critic's first step has happened when its second one, or the actor, finds out."""
    name = dict(actor="learning_rate", critic="critic_learning_rate")[network]
    rate = [1e-3]
    options = {**options, "critic_learning_rate": 1e-3, "actor_warmup": 0.0, "fast_path": fast_path}
    model = faulty_model(**{**options, name: lambda _: rate[0]}, env=env).learn(8)
    rate[0] = 3e38 if options.get("policy_kwargs") is RMSPROP else 1e300
    fails_to_update(model, rf"parameter of the {network} is not finite in update 2 \(after time")
    assert_saved_and_finite(model)
    rate[0] = 1e-3
    assert model.learn(8, reset_num_timesteps=False)._n_updates == 2


@BOTH_PATHS
def test_in_the_first_update_too_the_optimizers_forget_the_step(fast_path: bool) -> None:
    model = faulty_model(learning_rate=1e300, actor_warmup=0.0, fast_path=fast_path)
    before = model.policy.parameters_to_vector()
    with pytest.raises(ValueError, match="in update 1"):
        model.learn(8)
    np.testing.assert_array_equal(model.policy.parameters_to_vector(), before)
    states = [*model.policy.optimizer.state.values(), *model.policy.critic_optimizer.state.values()]
    assert all(float(tensor.abs().sum()) == 0.0 for state in states for tensor in state.values())


@BOTH_PATHS
@pytest.mark.parametrize(
    ("parameter", "size", "quantity"),
    [
        ("value_net.bias", 1e25, "(norm of a gradient|loss of the critic)"),
        ("action_net.weight", math.inf, r"parameter 'action_net.weight' of the policy"),
        ("value_net.bias", math.inf, r"parameter 'value_net.bias' of the policy"),
        ("value_net.bias", math.nan, r"parameter 'value_net.bias' of the policy"),
    ],
)
def test_the_error_names_what_is_not_finite(
    parameter: str, size: float, quantity: str, fast_path: bool
) -> None:
    """A TD error of 5e24 is a number, its square is none."""
    model = faulty_model(fast_path=fast_path, gamma=0.5).learn(8)
    with torch.no_grad():
        model.policy.get_parameter(parameter).fill_(size)
    fails_to_update(model, quantity)


@BOTH_PATHS
@pytest.mark.parametrize(("at", "quantity"), [(7, "value"), (8, "target")])
def test_a_quantity_of_one_transition_is_named_with_its_environment_and_step(
    at: int, quantity: str, fast_path: bool
) -> None:
    """Step 7 leads to the state before step 8, the last one of the second rollout."""
    fault = dict(obs=np.full(3, 1e15, np.float32))
    model = faulty_model(fault, fast_path, env=dict(at=at), normalize_observation=False).learn(8)
    with torch.no_grad():
        model.policy.value_net.weight.fill_(1e25)
    where = r"environment 1 at step 3 of its episode \(time step 16, after 1 update\)"
    fails_to_update(
        model,
        rf"{quantity} is not finite in update 2 .*, in 1 of 8 transitions \(first: {where}; an",
    )


class MovesTheMean(BaseCallback):
    """By 0.5 between a rollout and its update."""

    def _on_rollout_end(self) -> None:
        with torch.no_grad():
            self.model.policy.action_net.bias.add_(0.5)

    def _on_step(self) -> bool:
        return True


@BOTH_PATHS
def test_a_density_of_zero_is_named(fast_path: bool) -> None:
    """The actions are 5e29 stds from the mean; the square of this is beyond float32."""
    std = dict(net_arch=[8], std_bounds=(1e-30, 1.0), std_init=1e-30)
    model = faulty_model(fast_path=fast_path, actor_warmup=0.0, policy_kwargs=std)
    with pytest.raises(ValueError, match=r"log-density is not finite .*, in all 8 transitions"):
        model.learn(8, MovesTheMean())


@BOTH_PATHS
@pytest.mark.parametrize("env", [{}, DISCRETE], ids=["box", "discrete"])
def test_a_callback_that_breaks_the_actor_is_told_before_an_environment_gets_nan(
    env: Any, fast_path: bool
) -> None:
    """``Faulty`` asserts that its actions are finite."""

    def breaks(now: Any, _: Any) -> bool:
        if now["self"].num_timesteps == 4:
            with torch.no_grad():
                now["self"].policy.action_net.weight.fill_(torch.nan)
        return True

    model = faulty_model(fast_path=fast_path, env=env)
    with pytest.raises(ValueError, match=r"parameter 'action_net.weight' of the policy"):
        model.learn(8, breaks)


@BOTH_PATHS
def test_ctrl_c_in_an_update_leaves_none_of_it(
    fast_path: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The critic has stepped, the actor has not."""
    model = faulty_model(fast_path=fast_path).learn(8)
    before = state_of_update(model)

    def interrupt(*_: Any) -> None:
        raise KeyboardInterrupt

    if fast_path:
        interrupt_after(model, "gaussian_gradient")
    else:
        monkeypatch.setattr(model.policy, "get_distribution", interrupt)
    with pytest.raises(KeyboardInterrupt):
        model.train()
    assert_identical(state_of_update(model), before)


def test_ctrl_c_in_the_last_kernel_of_an_update_leaves_none_of_it() -> None:
    """Python is told of a signal after the kernel that it came in."""
    model = faulty_model().learn(8)
    before = state_of_update(model)
    interrupt_after(model, "update_moments")
    with pytest.raises(KeyboardInterrupt):
        model.train()
    assert_identical(state_of_update(model), before)


@BOTH_PATHS
def test_batch_norm_is_restored(fast_path: bool) -> None:
    """Its running mean moves in the forward pass of an update that fails."""
    rate = [1e-3]
    model = faulty_model(fast_path=fast_path, critic_learning_rate=lambda _: rate[0])
    model.policy.mlp_extractor.value_net.append(nn.BatchNorm1d(8))
    model.policy.critic_optimizer.add_param_group(
        dict(params=model.policy.mlp_extractor.value_net[-1].parameters())
    )
    model.learn(8)
    rate[0] = 1e300
    fails_to_update(model, "critic is not finite")


@BOTH_PATHS
@pytest.mark.parametrize("size", [1e-40, 1e15])
@pytest.mark.parametrize("name", ["obs", "reward"])
def test_the_smallest_and_largest_numbers_leave_statistics_finite(
    name: str, size: float, fast_path: bool
) -> None:
    env: dict[str, Any] = dict(reward=size)
    if name == "obs":
        env = dict(space=spaces.Box(-size, size, (3,), np.float32))
    model = faulty_model(fast_path=fast_path, env=env)
    before = model.learn(8).policy.parameters_to_vector()
    after = model.learn(80, reset_num_timesteps=False).policy.parameters_to_vector()
    assert (after != before).any()
    assert_saved_and_finite(model)


@BOTH_PATHS
@pytest.mark.parametrize("fault", [dict(obs=np.full(3, 1e30)), dict(reward=1e30)], ids=["o", "r"])
def test_a_number_of_1e30_stops_before_it_is_in_a_statistic(fault: Any, fast_path: bool) -> None:
    model = faulty_model(fault, fast_path).learn(8)
    before = state(model)
    with pytest.raises(ValueError, match="too large"):
        model.learn(8, reset_num_timesteps=False)
    assert_identical(state(model), before)


@BOTH_PATHS
def test_values_of_1e25_are_in_no_statistic_of_the_advantage(fast_path: bool) -> None:
    """Their square is none: all later advantages would be divided by infinity."""
    options = dict(learning_rate=0.0, critic_learning_rate=1e25, critic_steps=1, n_steps=1)
    model = faulty_model(fast_path=fast_path, env=dict(length=1, reward=0.0), **options)
    with pytest.raises(ValueError, match=r"value is not finite .*, in all 2 transitions"):
        model.learn(28)
    assert_saved_and_finite(model)
