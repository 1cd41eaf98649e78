"""The fast path gives autograd's numbers: parameters, optimizers, statistics, actions, log."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from gymnasium import spaces
from helpers.path_pairs import (
    actions_of,
    assert_moved_alike,
    assert_near,
    build,
    needs_library,
    state,
    steps_env,
)
from scipy.stats import mannwhitneyu
from stable_baselines3.common.env_util import make_vec_env
from stable_baselines3.common.logger import KVWriter, Logger
from torch import nn

from sb3_tdac import TDAC
from sb3_tdac.fast.network import Network

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
    assert models[0]._kernels is None and models[1]._kernels is not None
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
        assert (loaded._kernels is not None) == fast_path
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


class Figures(KVWriter):
    """Keeps what is logged."""

    def __init__(self) -> None:
        self.logged: list[dict[str, float]] = []

    def write(self, key_values: dict[str, Any], *args: Any) -> None:
        self.logged.append({k: v for k, v in key_values.items() if k.startswith("train/")})


@every_space
@pytest.mark.parametrize("critic_first", [True, False])
def test_the_log_shows_the_same_figures(critic_first: bool, space: str) -> None:
    logs = []
    for fast_path in (False, True):
        figures = Figures()
        model = build(fast_path, env_of("tanh", space), critic_first=critic_first)
        model.set_logger(Logger(None, [figures]))
        actions_of(model, 6, log_interval=1)
        logs.append(figures.logged)
    names = {"critic_loss", "actor_loss", "td_error", "entropy", "explained_variance"}
    names |= set() if space == "discrete" else {"std"}
    assert len(logs[0]) == 6 and {f"train/{name}" for name in names} <= logs[0][1].keys()
    for general, fast in zip(*logs, strict=True):
        assert fast == pytest.approx(general, rel=1e-4, abs=1e-5)


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


@pytest.mark.parametrize("network", ["policy_net", "value_net"])
@pytest.mark.parametrize("activation", [nn.Tanh, nn.ReLU])
def test_a_gradient_that_is_not_finite_changes_nothing(network: str, activation: Any) -> None:
    model = build(True, policy_kwargs=dict(activation_fn=activation))
    actions_of(model, 2)
    of_actor = network == "policy_net"
    with torch.no_grad():
        getattr(model.policy.mlp_extractor, network)[0].weight[0, 0] = torch.nan
    optimizer = model.policy.optimizer if of_actor else model.policy.critic_optimizer
    before = [p.clone() for p in optimizer.param_groups[0]["params"]]
    with pytest.raises(
        ValueError, match=f"parameter of the {'actor' if of_actor else 'critic'} is not"
    ):
        model._kernels.update(model.rollout_buffer.rows())  # type: ignore[union-attr]
    for old, new in zip(before, optimizer.param_groups[0]["params"], strict=True):
        torch.testing.assert_close(new, old, rtol=0, atol=0, equal_nan=True)
    assert optimizer.state[optimizer.param_groups[0]["params"][0]]["step"] == 2 * (
        1 if of_actor else model.critic_steps
    )


@pytest.mark.parametrize("beta2", [0.9, 0.999, 0.99999])
def test_one_step_of_adam_is_that_of_torch(beta2: float) -> None:
    layers = [nn.Linear(5, 7) for _ in range(2)]
    layers[1].load_state_dict(layers[0].state_dict())
    ours, torchs = (
        torch.optim.Adam(layer.parameters(), lr=0.5, betas=(0.9, beta2)) for layer in layers
    )
    network = Network(nn.Sequential(), [layers[0]], ours, rows=1)
    before = {k: v.clone().numpy() for k, v in layers[0].state_dict().items()}
    for seed, gradient in enumerate(network.gradients):
        gradient[...] = np.random.default_rng(seed).normal(size=gradient.shape)
    for parameter, gradient in zip(layers[1].parameters(), network.gradients, strict=True):
        parameter.grad = torch.from_numpy(gradient.copy())
    network.step(None)
    torchs.step()
    after = [{k: v.numpy() for k, v in layer.state_dict().items()} for layer in layers]
    assert_moved_alike(before, after[1], after[0], tolerance=2e-6)
