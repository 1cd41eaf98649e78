"""The kernels give autograd's numbers: parameters, optimizers, statistics and actions."""

from copy import deepcopy
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from gymnasium import spaces
from helpers.internals import uses_kernels
from helpers.kernel_learners import OPTIONS, batch, small_learner, small_policy
from helpers.path_pairs import (
    actions_of,
    assert_identical,
    assert_moved_alike,
    assert_near,
    build,
    needs_library,
    numbers,
    state,
    steps_env,
)
from scipy.stats import mannwhitneyu
from stable_baselines3.common.env_util import make_vec_env
from torch import nn

from sb3_tdac import TDAC
from sb3_tdac.diagnostics.not_finite import NotFinite
from sb3_tdac.normalization import RunningRootMeanSquare

pytestmark = needs_library
ACTION_SPACES = dict(
    bounded=spaces.Box(-2.0, 2.0, (2,)),
    unbounded=spaces.Box(-np.inf, np.inf, (2,)),
    discrete=spaces.Discrete(3),
)
LARGE = spaces.Box(-1e2, 1e2, (3,))
CASES: dict[str, Any] = {
    "tanh": dict(policy_kwargs=dict(activation_fn=nn.Tanh)),
    "relu": dict(policy_kwargs=dict(activation_fn=nn.ReLU)),
    "no clipping": dict(max_grad_norm=None),
    "large inputs": dict(normalize_observation=False, observation_space=LARGE),
    "gradient of the target": dict(critic_gradient="residual"),
    "std at its upper bound": dict(policy_kwargs=dict(std_init=0.9, std_bounds=(0.2, 0.9))),
    "std at its lower bound": dict(policy_kwargs=dict(std_init=0.3, std_bounds=(0.3, 1.0))),
    "long memory": dict(policy_kwargs=dict(optimizer_kwargs=dict(betas=(0.9, 0.9999)))),
    "two rows": dict(n_steps=1),
    "wide": dict(policy_kwargs=dict(net_arch=[64, 61], activation_fn=nn.Tanh), n_envs=5),
}
every_case = pytest.mark.parametrize("case", CASES)
every_space = pytest.mark.parametrize("space", ACTION_SPACES)


def env_of(case: str, space: str) -> Any:
    """Of episodes that end within the batch, by termination and by truncation."""
    options = CASES[case]
    where = options.get("observation_space")
    return steps_env(ACTION_SPACES[space], where, options.get("n_envs", 2))


def model_of(case: str, space: str, fast_path: bool) -> TDAC:
    of_env = ("observation_space", "n_envs")
    options = {name: value for name, value in CASES[case].items() if name not in of_env}
    return build(fast_path, env_of(case, space), **options)


def trained(case: str, space: str, n_updates: int) -> tuple[TDAC, TDAC]:
    """Of the general path, and of the fast one."""
    models = [model_of(case, space, fast_path) for fast_path in (False, True)]
    for model in models:
        actions_of(model, n_updates)
    return models[0], models[1]


@every_space
@every_case
def test_twenty_updates_equal_those_of_autograd(case: str, space: str) -> None:
    models = [model_of(case, space, fast_path) for fast_path in (False, True)]
    before = state(models[0])
    general, fast = (actions_of(model, 20) for model in models)
    assert [uses_kernels(model) for model in models] == [False, True]
    np.testing.assert_allclose(fast, general, rtol=2e-6, atol=1e-6)
    after = [state(model) for model in models]
    assert_near(*after)
    parameters = [name for name in before if name.startswith("/policy/")]
    assert_moved_alike({name: before[name] for name in parameters}, *after)


@every_space
@pytest.mark.parametrize("first", [False, True])
def test_a_model_continues_on_either_path(first: bool, space: str, tmp_path: Path) -> None:
    model = model_of("tanh", space, first)
    actions_of(model, 5)
    model.save(tmp_path / "model")
    ends, actions = [], []
    for fast_path in (False, True):
        path, env = tmp_path / "model", env_of("tanh", space)
        loaded = TDAC.load(path, env, device="cpu", fast_path=fast_path)
        assert loaded.policy.optimizer.state_dict()["state"][0]["step"] == 5
        actions.append(actions_of(loaded, 10))
        assert uses_kernels(loaded) == fast_path
        ends.append(state(loaded))
    assert_near(*ends)
    np.testing.assert_allclose(*actions, rtol=0, atol=1e-6)


@every_space
def test_torch_continues_from_the_optimizer_as_it_was_left(space: str) -> None:
    """The same keys and numbers: torch's own Adam then takes the same step from either."""
    steps = []
    for model in trained("long memory", space, 5):
        optimizer = model.policy.critic_optimizer
        parameters = optimizer.param_groups[0]["params"]
        copies = [p.detach().clone().requires_grad_() for p in parameters]
        adam = torch.optim.Adam(copies)
        adam.load_state_dict(optimizer.state_dict())
        for copy in copies:
            copy.grad = torch.ones_like(copy)
        adam.step()
        steps.append({str(i): p.detach().numpy() for i, p in enumerate(copies)})
        assert {*adam.state[copies[0]]} == {"step", "exp_avg", "exp_avg_sq"}
        assert adam.state[copies[0]]["step"] == 5 * model.critic_steps + 1
    assert_near(*steps)


@pytest.mark.parametrize("env_id", ["Pendulum-v1", "CartPole-v1"])
def test_the_first_actions_are_the_same(env_id: str) -> None:
    models = [build(f, make_vec_env(env_id, 2, seed=0), n_steps=5) for f in (False, True)]
    general, fast = (actions_of(model, 5) for model in models)
    np.testing.assert_allclose(fast, general, rtol=0, atol=1e-4)


def test_returns_are_the_same_in_distribution() -> None:
    """Rounding parts the two on CartPole; what both have learned in the end is alike."""
    returns: list[list[float]] = []
    for fast_path in (False, True):
        returns.append([])
        for seed in range(4 * fast_path, 4 * fast_path + 4):
            env = make_vec_env("CartPole-v1", 8, seed=seed)
            model = TDAC("MlpPolicy", env, seed=seed, fast_path=fast_path).learn(8_000)
            returns[-1].append(float(np.mean([info["r"] for info in model.ep_info_buffer][-30:])))

    assert min(map(np.mean, returns)) > 60.0  # 20: nothing learned
    assert mannwhitneyu(*returns).pvalue > 1e-3  # other processors round in other ways


def first_not_finite(trace: Any) -> str:
    bad = (
        name
        for name, arrays in trace.items()
        if not all(bool(torch.as_tensor(array).isfinite().all()) for array in arrays)
    )
    return next(bad, "nothing")


@pytest.mark.parametrize("optimizer", [torch.optim.Adam, torch.optim.RMSprop])
@pytest.mark.parametrize("network", ["policy_net", "value_net"])
@pytest.mark.parametrize("activation", [nn.Tanh, nn.ReLU])
def test_a_gradient_that_is_not_finite_can_be_undone(
    network: str, activation: Any, optimizer: Any
) -> None:
    policy = small_policy(activation_fn=activation, optimizer_class=optimizer)
    stats = RunningRootMeanSquare()
    learner = small_learner(policy, advantage_stats=stats)
    learner.update(batch(1), OPTIONS)
    assert learner.snapshot.is_finite() and first_not_finite(learner.trace()) == "nothing"
    with torch.no_grad():
        getattr(policy.mlp_extractor, network)[0].weight[0, 0] = torch.nan
    modules = policy, policy.optimizer, policy.critic_optimizer, stats
    before = numbers([deepcopy(module.state_dict()) for module in modules])
    learner.snapshot.take()
    with pytest.raises(NotFinite, match="norm of a gradient is not finite"):
        learner.update(batch(2), OPTIONS)
    assert not learner.snapshot.is_finite()
    owner = "actor" if network == "policy_net" else "critic"
    assert first_not_finite(learner.trace()) == f"parameter of the {owner}"
    learner.snapshot.restore()
    assert_identical(numbers([module.state_dict() for module in modules]), before)


@every_space
def test_a_value_that_is_not_finite_is_the_first_of_the_trace(space: str) -> None:
    learner = small_learner(small_policy(ACTION_SPACES[space]))
    learner.update(batch(1, discrete=space == "discrete"), OPTIONS)
    rows = batch(2, discrete=space == "discrete")
    rows.reward[3] = np.inf
    with pytest.raises(NotFinite):
        learner.update(rows, OPTIONS)
    trace = learner.trace()  # nothing of the actor: this update did not reach it
    assert first_not_finite(trace) == "target"
    assert not trace["output of the actor"] and "log-density" not in trace


def test_an_action_that_is_not_finite_is_found_in_the_log_density() -> None:
    learner, rows = small_learner(small_policy()), batch()
    rows.action[3] = np.nan
    with pytest.raises(NotFinite):
        learner.update(rows, OPTIONS)
    assert first_not_finite(learner.trace()) == "log-density"


@every_space
def test_a_trace_is_in_the_order_of_computing(space: str) -> None:
    learner = small_learner(small_policy(ACTION_SPACES[space]))
    learner.update(batch(discrete=space == "discrete"), OPTIONS)
    assert [*learner.trace()] == [
        *("parameter of the critic", "value", "target", "gradient of the critic"),
        *("mean square of the advantage", "advantage", "parameter of the actor"),
        *("output of the actor", "log-density", "gradient of the actor"),
    ]


@pytest.mark.parametrize("dtype", [np.float64, np.int64, np.uint8])
def test_observations_may_be_of_any_type_of_number(dtype: Any) -> None:
    actions = []
    for kind in (np.float32, dtype):
        learner = small_learner(small_policy())
        actions.append(learner.act(np.array([[1, 2, 3], [4, 5, 6]], kind)))
    np.testing.assert_array_equal(*actions)
