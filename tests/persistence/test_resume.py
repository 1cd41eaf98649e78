"""Training that was interrupted goes on as if it had not been."""

import base64
import io
import json
import multiprocessing
import pickle
import signal
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from helpers.environments import BOTH_PATHS, Restorable, restorable_envs, small_model
from helpers.internals import episodes_of
from helpers.model_state import assert_identical, file_of, state
from helpers.saved_models import entry, with_settings
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.vec_env import DummyVecEnv, VecNormalize

from sb3_tdac import TDAC
from sb3_tdac.callbacks import CheckpointCallback

PLAN = 320
CONSTANT = dict(learning_rate=1e-3, critic_learning_rate=1e-3, ent_coef=0.1, actor_warmup=0.0)


def fresh(fast_path: bool = True, env: Any = None, **options: Any) -> TDAC:
    """16 rows in an update; the learning rates fall from start to end of a ``learn``."""
    settings = dict(n_steps=8, seed=3, fast_path=fast_path)
    return small_model(env or restorable_envs(), **settings | options)


class WithEnvironment(CheckpointCallback):
    """Save the state of the environments, too."""

    def save(self) -> None:
        super().save()
        path = Path(self._checkpoint_path("environments_", extension="pkl"))
        path.write_bytes(pickle.dumps(self.training_env.env_method("get_state")))


class Stop(BaseCallback):
    """End, or break, the training at a number of steps.

    :param steps: over all environments
    :param error: what to raise; ``None``: stop as callbacks do
    """

    def __init__(self, steps: int, error: type[BaseException] | None = None):
        super().__init__()
        self.steps, self.error = steps, error

    def _on_step(self) -> bool:
        if self.num_timesteps >= self.steps and self.error:
            raise self.error
        return self.num_timesteps < self.steps


def resume_the_checkpoint(folder: Path) -> None:
    """In a process that knows nothing but the files."""
    states = pickle.loads((folder / "rl_model_environments_160_steps.pkl").read_bytes())
    path = folder / "rl_model_160_steps"
    model = TDAC.load(path, restorable_envs(states), force_reset=False).resume()
    model.save(folder / "end")


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> dict[bool, tuple[TDAC, TDAC]]:
    """On each path: a model that was never interrupted, and one that another process resumed."""
    folders = {fast_path: tmp_path_factory.mktemp("run") for fast_path in (True, False)}
    whole = {
        fast_path: fresh(fast_path).learn(PLAN, WithEnvironment(75, str(folder)))
        for fast_path, folder in folders.items()
    }
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        pool.map(resume_the_checkpoint, folders.values())
    return {path: (whole[path], TDAC.load(folder / "end")) for path, folder in folders.items()}


@BOTH_PATHS
def test_a_run_resumed_in_a_new_process_equals_one_that_was_never_interrupted(
    runs: dict[bool, tuple[TDAC, TDAC]], fast_path: bool
) -> None:
    """Episodes, optimizers, statistics, schedules and random numbers go on in their middle."""
    uninterrupted, resumed = runs[fast_path]
    assert_identical(state(resumed), state(uninterrupted))
    assert_identical(episodes_of(resumed), episodes_of(uninterrupted))
    for name in ("num_timesteps", "_n_updates", "ent_coef_now", "_total_timesteps"):
        assert getattr(resumed, name) == getattr(uninterrupted, name), name


@BOTH_PATHS
def test_two_halves_equal_the_whole(tmp_path: Path, fast_path: bool) -> None:
    """With constant rates; between the halves others draw random numbers."""
    whole = fresh(fast_path, **CONSTANT).learn(PLAN)
    half = fresh(fast_path, **CONSTANT).learn(PLAN // 2)
    half.save(tmp_path / "half")
    states = half.get_env().env_method("get_state")
    loaded = TDAC.load(tmp_path / "half", restorable_envs(states), force_reset=False)
    torch.manual_seed(99)
    loaded.save(tmp_path / "again")  # the generators are still those of the first file
    again = TDAC.load(tmp_path / "again", restorable_envs(states), force_reset=False)
    assert_identical(state(again.resume(PLAN // 2)), state(whole))


@BOTH_PATHS
def test_behind_vec_normalize_two_halves_equal_the_whole(tmp_path: Path, fast_path: bool) -> None:
    """Its own file lacks the returns of the running episodes."""
    models = [fresh(fast_path, env=VecNormalize(restorable_envs()), **CONSTANT) for _ in "12"]
    whole, half = models[0].learn(PLAN), models[1].learn(PLAN // 2)
    half.save(tmp_path / "half")
    half.env.save(str(tmp_path / "half.pkl"))
    states = half.env.env_method("get_state")
    env = VecNormalize.load(str(tmp_path / "half.pkl"), restorable_envs(states))
    loaded = TDAC.load(tmp_path / "half", env, force_reset=False)
    assert_identical(state(loaded.resume(PLAN // 2)), state(whole))
    np.testing.assert_equal(vars(env.ret_rms), vars(models[0].env.ret_rms))


def test_a_generator_of_another_device_is_left_with_a_warning() -> None:
    """The state of a GPU's generator has 16 bytes."""
    file = file_of(fresh().learn(32))
    states = json.loads(entry("data", file))["_random_states"]
    states["model"] = base64.b64encode(bytes(16)).decode()
    file = with_settings(file, _random_states=states)
    model = TDAC.load(io.BytesIO(file), restorable_envs())
    with pytest.warns(UserWarning, match="a device of another kind than cpu"):
        assert model.resume(16).num_timesteps == 48


def test_a_model_that_was_trained_on_after_load_saves_the_generators_of_now(
    tmp_path: Path,
) -> None:
    fresh().learn(32).save(tmp_path / "model")
    model = TDAC.load(tmp_path / "model", restorable_envs()).learn(48)
    model.save(tmp_path / "model")
    now = torch.get_rng_state()
    torch.manual_seed(5)
    again = TDAC.load(tmp_path / "model", restorable_envs())
    again.resume(1, callback=(seen := Generators()))
    assert torch.equal(seen.states[0], now)


class Generators(BaseCallback):
    """The state of torch's generator before each rollout."""

    def _on_training_start(self) -> None:
        self.states = [torch.get_rng_state()]

    def _on_step(self) -> bool:
        return True


def test_an_environment_that_cannot_be_restored_starts_new_episodes(tmp_path: Path) -> None:
    model = fresh().learn(PLAN, Stop(200))
    before = episodes_of(model)
    assert before["/_elapsed_steps"].any() and before["/_discounted_return"].any()
    model.save(tmp_path / "model")
    loaded = TDAC.load(tmp_path / "model", restorable_envs())
    assert loaded._last_obs is None
    first = FirstStep()
    loaded.resume(callback=first)
    assert loaded.num_timesteps == 328  # the first rollout end after 320: 200 + 8 * 16
    assert first.elapsed == [0, 0]


class FirstStep(BaseCallback):
    """The first observation of the training, and the steps of its episode so far."""

    elapsed: list[int] | None = None
    observation: Any

    def _on_rollout_end(self) -> None:
        if self.elapsed is None:
            self.elapsed = self.model.rollout_buffer.elapsed_steps[0].tolist()
            self.observation = self.model.rollout_buffer.observations[0].copy()

    def _on_step(self) -> bool:
        return True


def test_without_a_reset_the_number_of_environments_must_be_that_of_the_model(
    tmp_path: Path,
) -> None:
    fresh().learn(16).save(tmp_path / "model")
    one = DummyVecEnv([Restorable])
    with pytest.raises(ValueError, match=r"force_reset=False, env must have 2 envir.*, got 1"):
        TDAC.load(tmp_path / "model", one, force_reset=False)
    assert TDAC.load(tmp_path / "model", one).resume(16).n_envs == 1


def test_resume_goes_to_the_end_of_the_plan_and_says_when_it_is_reached(tmp_path: Path) -> None:
    model = fresh().learn(PLAN, Stop(161))
    model.resume()
    assert (model.num_timesteps, model._current_progress_remaining) == (322, 0.0)
    with pytest.raises(ValueError, match="training is complete: 322 of 320 steps"):
        model.resume()
    assert model.resume(10).num_timesteps == 338


@pytest.mark.parametrize("error", [KeyboardInterrupt, RuntimeError])
def test_an_interrupted_model_is_intact_and_resumes(
    tmp_path: Path, error: type[BaseException]
) -> None:
    model = fresh()
    with pytest.raises(error):
        model.learn(PLAN, Stop(200, error))
    model.save(tmp_path / "model")
    loaded = TDAC.load(tmp_path / "model", restorable_envs())
    assert_identical(state(loaded), state(model))
    assert loaded.resume().num_timesteps == 328 and model.resume().num_timesteps == 328


@pytest.mark.parametrize("error", [None, KeyboardInterrupt], ids=["callback", "error"])
@pytest.mark.parametrize("is_saved", [False, True], ids=["in memory", "from a file"])
def test_what_was_stopped_in_a_rollout_goes_on_with_new_episodes(
    tmp_path: Path, error: type[BaseException] | None, is_saved: bool
) -> None:
    """The environments are one step ahead of the last observation that SB3 keeps."""
    model, first = fresh(), FirstStep()
    with suppress(KeyboardInterrupt):
        model.learn(PLAN, Stop(100, error))  # after 2 of 8 steps
    if is_saved:
        model.save(tmp_path / "model")
        model = TDAC.load(tmp_path / "model", model.get_env(), force_reset=False)
    model.resume(16, callback=first)
    assert first.elapsed == [0, 0]
    assert (first.observation[:, 1] == 0).all()  # steps of the episode, by the environment


def test_ctrl_c_ends_learn_and_leaves_a_model_that_learns_on() -> None:
    model = fresh()
    with pytest.raises(KeyboardInterrupt):
        model.learn(PLAN, lambda local, _: signal.raise_signal(signal.SIGINT))
    assert model.num_timesteps == 2
    assert model.resume().num_timesteps == 322
