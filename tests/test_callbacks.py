"""CheckpointCallback: between two rollouts, and training goes on where a file fails."""

from pathlib import Path
from typing import Any

import pytest
from helpers.environments import Restorable, restorable_envs, small_model
from stable_baselines3.common.callbacks import EveryNTimesteps
from stable_baselines3.common.env_util import make_vec_env
from stable_baselines3.common.vec_env import DummyVecEnv, VecNormalize

from sb3_tdac import TDAC
from sb3_tdac.callbacks import CheckpointCallback


def model() -> TDAC:
    """16 rows in an update."""
    return small_model(restorable_envs(), n_steps=8)


def full(*_: Any) -> None:
    raise OSError(28, "No space left on device")


def test_checkpoints_are_saved_between_rollouts(tmp_path: Path) -> None:
    """Due every 50 steps in two environments, written with the next update of 16."""
    model().learn(160, CheckpointCallback(25, str(tmp_path)))
    names = {path.name for path in tmp_path.iterdir()}
    assert names == {f"rl_model_{steps}_steps.zip" for steps in (64, 112, 160)}
    assert [TDAC.load(tmp_path / f"rl_model_{n}_steps")._n_updates for n in (64, 160)] == [4, 10]


def test_an_event_takes_a_checkpoint_at_once(tmp_path: Path) -> None:
    model().learn(32, EveryNTimesteps(20, CheckpointCallback(1, str(tmp_path))))
    assert TDAC.load(tmp_path / "rl_model_20_steps").num_timesteps == 20


def test_normalization_statistics_come_with_the_checkpoint(tmp_path: Path) -> None:
    env = VecNormalize(make_vec_env(Restorable, 2, seed=0))
    callback = CheckpointCallback(8, str(tmp_path), save_vecnormalize=True)
    small_model(env, n_steps=8).learn(32, callback)
    loaded = VecNormalize.load(
        str(tmp_path / "rl_model_vecnormalize_32_steps.pkl"), DummyVecEnv([Restorable] * 2)
    )
    assert loaded.obs_rms.count == env.obs_rms.count > 32
    assert (loaded.obs_rms.mean == env.obs_rms.mean).all()


def test_training_goes_on_where_a_checkpoint_cannot_be_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "rl_model_32_steps.zip").write_bytes(b"the old one")
    monkeypatch.setattr("os.fsync", full)
    with pytest.warns(UserWarning, match="training goes on: .*No space left.*free some space"):
        trained = model().learn(64, CheckpointCallback(16, str(tmp_path)))
    assert trained.num_timesteps == 64
    assert [path.read_bytes() for path in tmp_path.iterdir()] == [b"the old one"]


@pytest.mark.filterwarnings("ignore:Folder .* is made")
@pytest.mark.parametrize("folder", ["file", "file/below", "circle", "zero\0byte"])
def test_training_goes_on_where_the_folder_of_checkpoints_cannot_be_made(
    tmp_path: Path, folder: str
) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "circle").symlink_to(tmp_path / "circle")
    with pytest.warns(UserWarning, match="training goes on: .*it was not written"):
        trained = model().learn(64, CheckpointCallback(16, str(tmp_path / folder)))
    assert trained.num_timesteps == 64
