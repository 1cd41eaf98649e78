"""``quickstart.py`` leaves a trained model, its curve and an animation."""

from pathlib import Path

import matplotlib.image
import pytest
import quickstart
from helpers.scripts import call_main
from PIL import Image
from stable_baselines3.common.env_util import make_vec_env

from sb3_tdac import TDAC


@pytest.mark.filterwarnings("ignore:rich is experimental")
def test_quickstart_leaves_model_curve_and_animation(tmp_path: Path) -> None:
    out = call_main(quickstart, "--timesteps", "32", "--n-envs", "8", "--out", str(tmp_path))
    assert "return before training: -" in out
    assert "return after training:  -" in out
    model = TDAC.load(tmp_path / "model", env=make_vec_env("Pendulum-v1", 8))
    assert model.num_timesteps == 32
    assert matplotlib.image.imread(tmp_path / "curve.png").std() > 0
    with Image.open(tmp_path / "animation.gif") as animation:
        assert animation.n_frames > 50
