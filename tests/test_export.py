"""The exported policy gives the actions of ``predict``, without SB3."""

import importlib.util
import sys
from pathlib import Path
from typing import Any

import export_policy
import numpy as np
import pytest
import torch
from gymnasium import spaces
from helpers.saved_models import load_safely, saved
from helpers.scripts import call_main
from stable_baselines3.common.utils import obs_as_tensor

from sb3_tdac.export import export_onnx, export_program

NEEDED = ("onnx", "onnxscript", "onnxruntime")
MISSING = [name for name in NEEDED if not importlib.util.find_spec(name)]
needs_onnx = pytest.mark.skipif(
    bool(MISSING), reason=f'{MISSING} not installed: pip install "sb3_tdac[export]"'
)


def samples(model: Any, rows: int) -> tuple[Any, Any]:
    """Observations, in another number than the exported example has, and ``predict``'s actions."""
    space = model.observation_space
    space.seed(1)
    drawn = [space.sample() for _ in range(rows)]
    if isinstance(space, spaces.Dict):
        obs: Any = {key: np.stack([one[key] for one in drawn]) for key in space.spaces}
    else:
        obs = np.stack(drawn)
    return obs, model.predict(obs, deterministic=True)[0]


def assert_equal_actions(actions: Any, expected: Any) -> None:
    assert actions.shape == expected.shape and actions.dtype == expected.dtype
    np.testing.assert_allclose(actions, expected, rtol=0, atol=1e-6)


NAMES = pytest.mark.parametrize("name", ["textbook", "discrete", "multi-binary", "image", "dict"])


def trained(name: str) -> Any:
    model = load_safely(saved(name))
    if name == "textbook":  # the actions reach the bounds
        model.policy.action_net.weight.data.mul_(1000)
    return model


@NAMES
def test_the_program_gives_the_actions_of_predict(name: str) -> None:
    model = trained(name)
    before = {k: v.clone() for k, v in model.policy.state_dict().items()}
    obs, expected = samples(model, rows=7)
    inputs: Any = obs_as_tensor(obs, "cpu")
    assert_equal_actions(export_program(model).module()(inputs).numpy(), expected)
    assert all(torch.equal(v, before[k]) for k, v in model.policy.state_dict().items())


@needs_onnx
@pytest.mark.filterwarnings("ignore:.*isinstance:FutureWarning")
@NAMES
def test_the_onnx_file_gives_the_actions_of_predict(tmp_path: Path, name: str) -> None:
    from onnxruntime import InferenceSession

    model = trained(name)
    export_onnx(model, tmp_path / "policy.onnx")
    obs, expected = samples(model, rows=7)
    session = InferenceSession(tmp_path / "policy.onnx", providers=["CPUExecutionProvider"])
    inputs = obs if isinstance(obs, dict) else {"observation": obs}
    assert_equal_actions(session.run(["action"], inputs)[0], expected)


@needs_onnx
@pytest.mark.filterwarnings("ignore:.*isinstance:FutureWarning")
def test_the_example_runs_without_sb3_and_agrees(tmp_path: Path) -> None:
    options = ("--timesteps", "640", "--out", str(tmp_path))
    lines = call_main(export_policy, *options).splitlines()
    assert [line.split(":")[0] for line in lines] == [
        *("Pendulum-v1.pt2", "Pendulum-v1.onnx", "CartPole-v1.pt2", "CartPole-v1.onnx")
    ]
    assert all(float(line.split()[-1]) < 1e-6 for line in lines)
    actions = np.load(tmp_path / "Pendulum-v1.onnx.npy")
    assert actions.shape == (1000, 1) and actions.std() > 0


def test_without_onnx_an_error_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "onnx", None)
    with pytest.raises(ImportError, match=r"sb3_tdac\[export\]"):
        export_onnx(load_safely(saved()), "policy.onnx")
