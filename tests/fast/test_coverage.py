"""Which models the kernels cover, and how a model says what it computes with."""

import ast
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from gymnasium import spaces
from helpers.internals import uses_kernels
from helpers.kernel_learners import OPTIONS, batch, choose, small_learner, small_policy
from helpers.path_pairs import actions_of, build, needs_library
from torch import nn

import sb3_tdac
from sb3_tdac import TDAC
from sb3_tdac.fast import KernelLearner
from sb3_tdac.normalization import RunningRootMeanSquare
from sb3_tdac.policies import TDACPolicy

PACKAGE = Path(sb3_tdac.__file__).parent


class Subclass(TDAC):
    """Of another name only."""


def lines(out: str) -> list[str]:
    return [line for line in out.splitlines() if line.startswith("Computing on")]


@needs_library
def test_the_choice_is_printed_once_with_its_reason(capsys: pytest.CaptureFixture[str]) -> None:
    def printed(model: TDAC) -> list[str]:
        actions_of(model, 3)
        return lines(capsys.readouterr().out)

    assert printed(build(True, verbose=1)) == ["Computing on the fast path (compiled kernels)"]
    elu = build(True, verbose=1, policy_kwargs=dict(activation_fn=nn.ELU))
    reason = "an activation is neither Tanh nor ReLU"
    assert printed(elu) == [f"Computing on the general path: {reason}"]
    assert printed(build(False, verbose=1)) == ["Computing on the general path: fast_path=False"]
    assert printed(build(True)) == []
    subclass = Subclass("MlpPolicy", build(True).get_env(), verbose=1, n_steps=8)
    reason = "Subclass is a subclass of TDAC"
    assert printed(subclass) == [f"Computing on the general path: {reason}"]


@needs_library
def test_fast_path_may_be_set_later() -> None:
    model = build(True)
    actions_of(model, 1)
    model.fast_path = False
    actions_of(model, 1)
    assert not uses_kernels(model)


class OtherPolicy(TDACPolicy):
    """Of another class only."""


def other_policy() -> TDACPolicy:
    space = spaces.Box(-1.0, 1.0, (3,))
    return OtherPolicy(space, space, lambda _: 1e-3)


def changed(change: Callable[[Any], Any], **options: Any) -> Callable[[], TDACPolicy]:
    def make() -> TDACPolicy:
        policy = small_policy(**options)
        change(policy)
        return policy

    return make


def hidden(policy: Any) -> nn.Sequential:
    return policy.mlp_extractor.policy_net


#: A policy, and a part of the reason why the kernels do not cover it.
NOT_COVERED: dict[str, tuple[Callable[[], TDACPolicy], str]] = {
    "class": (other_policy, "policy is a OtherPolicy"),
    "actions": (lambda: small_policy(spaces.MultiBinary(2)), "neither Box nor Discrete"),
    "activation": (lambda: small_policy(activation_fn=nn.ELU), "neither Tanh nor ReLU"),
    "width": (lambda: small_policy(net_arch=[300]), "layers of width 300 are large enough"),
    "odd length": (changed(lambda p: hidden(p).append(nn.Linear(8, 8))), "not a Sequential of"),
    "no bias": (
        changed(lambda p: hidden(p).__setitem__(2, nn.Linear(8, 8, bias=False))),
        "not Linear, or has no bias",
    ),
    "wrong shape": (changed(lambda p: setattr(p, "value_net", nn.Linear(9, 1))), "do not fit"),
    "one bias twice": (
        changed(lambda p: setattr(hidden(p)[2], "bias", hidden(p)[0].bias)),
        "layers share a parameter",
    ),
    "one layer twice": (changed(lambda p: hidden(p).__setitem__(2, p.action_net)), "do not fit"),
    "dtype": (changed(lambda p: p.double()), "not float32 on a CPU"),
    "frozen": (changed(lambda p: p.value_net.requires_grad_(False)), "a parameter is frozen"),
    "hook": (changed(lambda p: p.value_net.register_forward_hook(print)), "has a hook"),
    "forward": (changed(lambda p: setattr(p.value_net, "forward", print)), "forward of its own"),
    "group": (
        changed(lambda p: p.optimizer.param_groups[0]["params"].pop()),
        "optimizer does not hold the parameters",
    ),
}


@pytest.mark.parametrize("case", NOT_COVERED)
def test_a_model_that_is_not_covered_gets_the_reason(case: str) -> None:
    make, reason = NOT_COVERED[case]
    assert reason in str(choose(make()))


@needs_library
def test_what_is_covered_gets_a_learner() -> None:
    """Every case above differs from this policy in one thing."""
    assert isinstance(choose(small_policy()), KernelLearner)
    assert "not float32" in str(choose(small_policy(), advantage_stats=_on_meta()))
    assert "40000 rows" in str(choose(small_policy(), n_steps=20_000))


def _on_meta() -> RunningRootMeanSquare:
    return RunningRootMeanSquare().to("meta")


@needs_library
@pytest.mark.parametrize("name", ["step", "exp_avg", "exp_avg_sq"])
def test_a_state_of_adam_that_does_not_fit_is_left_to_torch(name: str) -> None:
    policy = small_policy()
    small_learner(policy).update(batch(), OPTIONS)
    state = policy.critic_optimizer.state[policy.value_net.weight]
    state[name] = state[name].double()
    assert "the state of critic_optimizer does not fit" in str(choose(policy))


@needs_library
def test_layers_that_do_not_fit_are_left_to_torch() -> None:
    model = build(True)
    model.policy.value_net = nn.Linear(9, 1)
    model.policy._build_optimizers(model.lr_schedule, model.critic_lr_schedule)
    with pytest.raises(RuntimeError, match="shapes cannot be multiplied"):
        actions_of(model, 1)


def test_only_the_algorithm_imports_the_fast_path() -> None:
    importing = set()
    for path in PACKAGE.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            names = [alias.name for alias in getattr(node, "names", []) if hasattr(alias, "name")]
            module = getattr(node, "module", None) or ""
            if any("sb3_tdac.fast." in f"{module}.{name}." for name in names):
                importing.add(str(path.relative_to(PACKAGE)))
    assert {name for name in importing if not name.startswith("fast")} == {"tdac.py"}


def test_without_the_folder_training_takes_the_general_path(tmp_path: Path) -> None:
    ignore = shutil.ignore_patterns("fast", "__pycache__")
    shutil.copytree(PACKAGE, tmp_path / "sb3_tdac", ignore=ignore)
    code = (
        "import sys; sys.path.insert(0, sys.argv[1])\n"
        "from sb3_tdac import TDAC\n"
        "TDAC('MlpPolicy', 'Pendulum-v1', device='cpu', verbose=1).learn(64)\n"
    )
    command = [sys.executable, "-c", code, str(tmp_path)]
    run = subprocess.run(command, check=True, capture_output=True, text=True)
    assert [line[:30] for line in lines(run.stdout)] == ["Computing on the general path:"]
