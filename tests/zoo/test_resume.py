"""``sb3-tdac train --resume RUN`` continues a run as if it had not been interrupted."""

import multiprocessing
import os
import pickle
import shutil
import signal
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from helpers.zoo import error_line
from stable_baselines3.common.monitor import load_results
from stable_baselines3.common.vec_env import DummyVecEnv, SubprocVecEnv

from sb3_tdac import TDAC
from sb3_tdac.zoo.cli import main
from sb3_tdac.zoo.run_files import newest_model

ENV = "CartPole-v1"
RUN = Path("logs") / "tdac" / f"{ENV}_1"
#: 30 updates of 32 rows in two environments; a checkpoint after every ten.
BUDGET = "-n 960 --save-freq 320 --eval-freq 240 --eval-episodes 2 --seed 1 -params n_envs:2"
TRAIN = ["train", "--env", ENV, *BUDGET.split(), "normalize:True"]


TRAIN_OF_TDAC = TDAC.train


def run(
    options: list[str], error: BaseException | None = None, steps: int = 0
) -> tuple[int, list[float]]:
    """Run a command whose training may raise an error.

    :param options: command and its options
    :param error: raised by the first update after ``steps`` steps; ``None``: no error
    :param steps: environment steps
    :return: exit status, and the progress of every update
    """
    progress = []

    def train(model: TDAC) -> None:
        if error is not None and model.num_timesteps >= steps:
            raise error
        progress.append(model._current_progress_remaining)
        TRAIN_OF_TDAC(model)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(TDAC, "train", train)
        return main(options), progress


def resume() -> list[float]:
    """Continue to the end, and return the progress of every update."""
    status, progress = run(["train", "--resume", str(RUN)])
    assert status == 0
    return progress


@pytest.fixture(scope="module")
def killed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a run that was killed after 800 steps."""
    folder = tmp_path_factory.mktemp("killed")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        assert run(TRAIN, SystemExit(9), 800)[0] == 9
        (RUN / "best_model.zip").unlink()  # it may be newer than the checkpoint, or not
    return folder


@pytest.fixture
def here(killed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of it, as the current folder."""
    shutil.copytree(killed, tmp_path, dirs_exist_ok=True)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_a_killed_run_goes_on_from_its_checkpoint_with_the_same_schedules(here: Path) -> None:
    assert not (RUN / f"{ENV}.zip").exists()
    progress = resume()
    assert progress == pytest.approx([1 - 32 * k / 960 for k in range(21, 31)])  # after step 640
    model = TDAC.load(RUN / f"{ENV}.zip")
    assert (model.num_timesteps, model._n_updates) == (960, 30)
    assert {path.name for path in RUN.glob("rl_model_*.zip")} == {
        f"rl_model_{steps}_steps.zip" for steps in (320, 640, 960)
    }
    assert len([*RUN.parent.iterdir()]) == 1


def test_evaluations_go_on_and_none_is_made_twice(here: Path) -> None:
    file = RUN / "evaluations.npz"
    with np.load(file) as stored:
        before = {name: stored[name] for name in stored}
    assert before["timesteps"].tolist() == [240, 480, 720]  # the last is after the checkpoint
    resume()
    with np.load(file) as stored:
        assert stored["timesteps"].tolist() == [240, 480, 720, 960]
        for name in ("results", "ep_lengths"):
            np.testing.assert_array_equal(stored[name][:2], before[name][:2])


def test_episodes_are_appended_and_no_step_is_counted_twice(here: Path) -> None:
    with (RUN / "0.monitor.csv").open("a") as file:
        file.write("1.0,")  # it was killed while it wrote
    resume()
    lengths = [
        np.loadtxt(RUN / f"{rank}.monitor.csv", delimiter=",", skiprows=2, usecols=1).sum()
        for rank in range(4)
    ]
    assert all(250 < length <= 320 for length in lengths[:2])  # of the first 640 steps
    assert all(100 < length <= 160 for length in lengths[2:])  # of the last 320
    assert load_results(str(RUN)).t.is_monotonic_increasing


def test_environments_get_seeds_that_they_have_not_had(
    here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The run used the seeds 1 and 2; the last ``reset`` uses 3 and 4."""
    envs: list[tuple[DummyVecEnv, int]] = []
    monkeypatch.setattr(DummyVecEnv, "seed", lambda env, seed: envs.append((env, seed)))
    resume()
    training = envs[-1][0]
    assert [seed for env, seed in envs if env is training][-1] == 3


def test_normalization_statistics_are_those_of_the_checkpoint(here: Path) -> None:
    resume()
    statistics = pickle.loads((RUN / ENV / "vecnormalize.pkl").read_bytes())
    resets = 2 * 2  # two environments, at the start and when it was resumed
    assert statistics.obs_rms.count == pytest.approx(960 + resets)


def test_the_best_model_counts_with_its_statistics(here: Path) -> None:
    (RUN / "rl_model_320_steps.zip").unlink()
    (RUN / "rl_model_640_steps.zip").rename(RUN / "best_model.zip")
    statistics = RUN / ENV / "vecnormalize.pkl"
    (RUN / "rl_model_vecnormalize_640_steps.pkl").rename(statistics)
    assert len(resume()) == 10
    assert pickle.loads(statistics.read_bytes()).obs_rms.count == pytest.approx(964)


def test_a_model_without_its_own_statistics_is_passed_over(here: Path) -> None:
    """rl_zoo3 writes them in place, after the model; it may be killed before or while it does."""
    (RUN / "rl_model_640_steps.zip").rename(RUN / "best_model.zip")
    statistics = RUN / ENV / "vecnormalize.pkl"
    earlier = (RUN / "rl_model_vecnormalize_320_steps.pkl").read_bytes()
    for content, why in (
        (None, "missing or damaged"),
        (earlier[:-9], "missing or damaged"),
        (earlier, "an earlier model's: it has seen 320 of 640 steps"),
    ):
        statistics.unlink(missing_ok=True)
        if content is not None:
            statistics.write_bytes(content)
        with pytest.warns(UserWarning, match=f"best_model.zip is not resumed from: .* is {why}"):
            assert newest_model(RUN)[0].name == "rl_model_320_steps.zip"
    with pytest.warns(UserWarning, match=why):
        assert len(resume()) == 20  # with the statistics of that checkpoint
    assert pickle.loads(statistics.read_bytes()).obs_rms.count == pytest.approx(964)


def test_ctrl_c_saves_and_says_how_to_go_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    status, first = run(TRAIN, KeyboardInterrupt(), 512)
    assert status == 0
    out = capsys.readouterr().out
    assert f"Stopped after 512 of 960 steps: to continue, sb3-tdac train --resume {RUN}" in out
    assert TDAC.load(RUN / f"{ENV}.zip").num_timesteps == 512
    assert first + resume() == pytest.approx([1 - 32 * k / 960 for k in range(1, 31) if k != 16])


def test_ctrl_c_saves_before_the_environments_are_closed_though_it_ended_their_processes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """``SubprocVecEnv.close`` fails; another one may hang, and the model would be lost."""

    def interrupt(model: TDAC) -> None:
        if model.num_timesteps >= at:
            for process in model.env.unwrapped.processes:  # type: ignore[union-attr]
                os.kill(process.pid, signal.SIGINT)
                process.join()
            raise error
        TRAIN_OF_TDAC(model)

    def close(env: SubprocVecEnv) -> None:
        was_saved.append((RUN / f"{ENV}.zip").exists())
        close_of_sb3(env)

    multiprocessing.get_context("forkserver").set_forkserver_preload(["rl_zoo3.train"])
    error: BaseException = KeyboardInterrupt()
    was_saved: list[bool] = []
    close_of_sb3 = SubprocVecEnv.close
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(TDAC, "train", interrupt)
    monkeypatch.setattr(SubprocVecEnv, "close", close)
    for at, options in (
        (352, [*TRAIN, "--vec-env", "subproc"]),
        (512, ["train", "--resume", str(RUN)]),
    ):
        assert main(options) == 0 and was_saved.pop() and not was_saved
        assert f"Stopped after {at} of 960 steps" in capsys.readouterr().out
        assert TDAC.load(RUN / f"{ENV}.zip").num_timesteps == at
        (RUN / f"{ENV}.zip").unlink()
    error = ValueError("the cause")  # the error of ``close`` does not hide it
    assert error_line(capsys, *TRAIN, "--vec-env", "subproc").endswith("the cause")


def test_the_newest_file_that_is_whole_counts(here: Path) -> None:
    path = RUN / "rl_model_640_steps.zip"
    path.write_bytes(path.read_bytes()[:-1])
    (RUN / "evaluations.npz").write_bytes(b"PK")
    (RUN / ".rl_model_640_steps.zip.0123abcd.tmp").touch()
    with pytest.warns(UserWarning) as warnings:
        resume()
    text = " ".join(str(warning.message) for warning in warnings)
    assert "is not resumed from: " in text and "evaluations start anew" in text
    assert TDAC.load(RUN / f"{ENV}.zip").num_timesteps == 960
    assert not [*RUN.glob(".*.tmp")]


def test_what_cannot_be_resumed_is_said_in_one_line(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def line(run: Any, *more: str) -> str:
        return error_line(capsys, "train", "--resume", str(run), *more)

    assert "logs is no run of sb3-tdac train" in line("logs")
    assert "--resume uses the run's own options: remove -n 5" in line(RUN, "-n", "5")
    resume()
    assert f"{RUN} is complete: 960 of 960 steps" in line(RUN)
    for path in RUN.glob("*.zip"):
        path.unlink()
    assert f"there is no whole model in {RUN}: start anew, with --save-freq" in line(RUN)
    arguments = RUN / ENV / "args.yml"
    arguments.write_text(arguments.read_text().replace("- tdac", "- ppo"))
    assert f"{RUN} is a run of ppo: only runs of tdac can be resumed" in line(RUN)
