"""Each command runs rl_zoo3's command of the same name with TDAC."""

import pickle
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import huggingface_hub
import pytest
from helpers.zoo import error_line
from stable_baselines3.common.vec_env import VecNormalize

from sb3_tdac import TDAC
from sb3_tdac.zoo import register, rl_zoo3_fixes
from sb3_tdac.zoo.cli import main

ENV = "Pendulum-v1"
RUN = Path("logs") / "tdac" / f"{ENV}_1"


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a run of 1600 steps: a checkpoint, the best and the last model."""
    folder = tmp_path_factory.mktemp("trained")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        budget = "-n 1600 --eval-freq 800 --eval-episodes 2 --save-freq 800 --seed 1"
        assert main(["train", "--env", ENV, *budget.split()]) == 0
    return folder


@pytest.fixture
def runs(trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A copy of that folder, as the current one."""
    shutil.copytree(trained, tmp_path, dirs_exist_ok=True)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SDL_VIDEODRIVER", "dummy")
    monkeypatch.setenv("MPLBACKEND", "Agg")
    yield tmp_path


def test_registering_twice_is_registering_once() -> None:
    register()
    register()
    from rl_zoo3.hyperparams_opt import HYPERPARAMS_CONVERTER, HYPERPARAMS_SAMPLER
    from rl_zoo3.utils import ALGOS

    assert ALGOS["tdac"] is TDAC
    assert "tdac" in HYPERPARAMS_SAMPLER and "tdac" in HYPERPARAMS_CONVERTER
    assert list(ALGOS).count("tdac") == 1


def test_train_saves_what_the_zoo_saves(runs: Path) -> None:
    names = {str(path.relative_to(RUN)) for path in RUN.rglob("*")}
    assert {"0.monitor.csv", f"{ENV}.zip", "best_model.zip", "evaluations.npz"} <= names
    assert {"rl_model_1600_steps.zip", f"{ENV}/config.yml", f"{ENV}/args.yml"} <= names
    assert TDAC.load(RUN / f"{ENV}.zip").num_timesteps == 1600


def test_train_continues_a_model(runs: Path) -> None:
    more = ["-n", "400", "-i", str(RUN / f"{ENV}.zip"), "--eval-freq", "-1"]
    assert main(["train", "--env", ENV, *more]) == 0
    assert (
        TDAC.load(RUN.with_name(f"{ENV}_2") / f"{ENV}.zip").num_timesteps == 416
    )  # 13 updates of 32 rows


def test_other_algorithms_are_the_zoos(here: Path) -> None:
    budget = "-n 64 --eval-freq -1 -params n_steps:32 batch_size:32 n_envs:1"
    assert main(["train", "--algo", "ppo", "--env", "CartPole-v1", *budget.split()]) == 0
    assert (here / "logs" / "ppo" / "CartPole-v1_1" / "CartPole-v1.zip").is_file()


@pytest.mark.filterwarnings("ignore:Argument ``multivariate``")
def test_train_optimizes_as_the_zoo_does(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    budget = "-n 200 --n-trials 2 --n-evaluations 1 --eval-episodes 1 --no-optim-plots"
    storage = ["--study-name", "s", "--storage", "s.log"]
    assert main(["train", "--env", ENV, "-optimize", *budget.split(), *storage]) == 0
    assert "Number of finished trials:  2" in capsys.readouterr().out
    of_trial = ["train", "--env", ENV, *storage, "-n", "64", "--eval-freq", "-1"]
    assert main([*of_trial, "--trial-id", "1"]) == 0
    assert "Loading from Optuna study" in capsys.readouterr().out
    assert "there is no trial 9" in error_line(capsys, *of_trial, "--trial-id", "9")
    assert "is not one of a2c" in error_line(capsys, *of_trial, "--algo", "a2c", "--trial-id", "1")


def test_schedules_of_a_configuration_are_the_models(here: Path) -> None:
    entry = "{n_timesteps: 64, policy: MlpPolicy, learning_rate: constant_1e-3, "
    entry += "critic_learning_rate: lin_4e-3, ent_coef: 2e-1}"
    Path("my.yml").write_text(f"{ENV}: {entry}")
    assert main(["train", "--env", ENV, "-conf", "my.yml", "--eval-freq", "-1"]) == 0
    model = TDAC.load(RUN / f"{ENV}.zip")
    assert [model.lr_schedule(progress) for progress in (1.0, 0.5)] == [1e-3, 1e-3]
    assert [model.critic_lr_schedule(progress) for progress in (1.0, 0.5)] == [4e-3, 2e-3]
    assert [model.ent_coef_schedule(progress) for progress in (1.0, 0.5)] == [0.2, 0.2]


def test_enjoy_plays_episodes(runs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["enjoy", "--env", ENV, "-n", "5"]) == 0
    assert main(["enjoy", "--env", ENV, "-n", "400", "--no-render"]) == 0
    assert "2 Episodes\nMean reward: -" in capsys.readouterr().out


def test_record_video_writes_a_film(runs: Path) -> None:
    assert main(["record_video", "--env", ENV, "-n", "20", "-o", "videos"]) == 0
    (film,) = Path("videos").glob("*.mp4")
    assert film.stat().st_size > 1000


def test_record_training_joins_the_checkpoints(runs: Path) -> None:
    for path in RUN.glob("rl_model_800*"):
        path.unlink()
    (RUN / "best_model.zip").unlink()
    assert main(["record_training", "--env", ENV, "-n", "20", "-o", "videos"]) == 0
    names = {path.name for path in Path("videos").glob("*.mp4")}
    assert {name.split("-")[0] for name in names} == {"checkpoint", "final", "training.mp4"}


def test_other_children_keep_their_options_while_rl_zoo3s_are_replaced(
    capfd: pytest.CaptureFixture[str],
) -> None:
    """The search for ffmpeg is such a child."""
    with rl_zoo3_fixes.children():
        subprocess.check_call([sys.executable, "-c", "print(1)"], stdout=subprocess.DEVNULL)
    assert capfd.readouterr().out == ""


def test_benchmark_evaluates_the_agents(runs: Path) -> None:
    budget = "--log-dir logs --no-hub -n 200 --test-mode --num-threads 1"
    assert main(["benchmark", *budget.split()]) == 0
    assert f"|tdac|{ENV}|" in Path("logs/benchmark/benchmark.md").read_text().replace(" ", "")


def test_plots_are_drawn(
    runs: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    shown: list[Any] = []
    all_plots = ["all_plots", "-e", ENV, "-f", "logs", "--no-display", "-o", "evaluations"]
    assert main(all_plots) == 0
    assert "two or more runs" in error_line(capsys, "plot_from_file", "-i", "evaluations")
    shutil.copytree(RUN, RUN.with_name(f"{ENV}_2"))
    monkeypatch.setattr("matplotlib.pyplot.show", lambda: shown.append(None))
    plot_train = ["plot_train", "-e", ENV, "-f", "logs", "-w", "1"]
    assert main(plot_train) == 0
    assert main(all_plots) == 0
    assert f"|{ENV}|" in capsys.readouterr().out.replace(" ", "")
    assert main(["plot_from_file", "-i", "evaluations", "-o", "plot", "--format", "png"]) == 0
    assert len(shown) == 2 and Path("plot").read_bytes().startswith(b"\x89PNG")


class Hub:
    """The Hugging Face hub, in a folder."""

    def __init__(self, folder: Path):
        self.folder = folder

    def upload(self, _: Any, repo_id: str, folder_path: Path, **more: Any) -> None:
        shutil.copytree(folder_path, self.folder / repo_id)

    def download(self, repo_id: str, filename: str, **more: Any) -> str:
        path = self.folder / repo_id / filename
        if not path.is_file():
            import httpx2

            request = httpx2.Request("GET", "http://hub")
            response = httpx2.Response(404, request=request)
            raise huggingface_hub.errors.RemoteEntryNotFoundError("no such file", response=response)
        return str(path)


def test_agent_goes_to_the_hub_and_comes_back(runs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    hub = Hub(runs / "hub_of_others")
    make = Path.mkdir
    monkeypatch.setattr("huggingface_hub.HfApi.create_repo", lambda *_, **__: "url")
    monkeypatch.setattr(
        "huggingface_hub.HfApi.snapshot_download",
        lambda *_, local_dir, **__: make(local_dir, parents=True),
    )
    monkeypatch.setattr(
        "huggingface_hub.HfApi.upload_folder", lambda *_, **more: hub.upload(*_, **more)
    )
    monkeypatch.setattr("huggingface_hub.hf_hub_download", hub.download)
    monkeypatch.setenv("TRUST_REMOTE_CODE", "True")
    agent = ["--env", ENV, "-orga", "me"]
    assert main(["push_to_hub", *agent, "-f", "logs", "--no-render"]) == 0
    assert "TDAC" in (hub.folder / "me" / f"tdac-{ENV}" / "README.md").read_text()
    assert main(["load_from_hub", *agent, "-f", "downloaded"]) == 0
    assert main(["enjoy", "--env", ENV, "-f", "downloaded", "-n", "20", "--no-render"]) == 0


def test_normalization_of_the_zoo_is_saved_and_loaded(here: Path) -> None:
    Path("my.yml").write_text(f"{ENV}: {{n_timesteps: 64, policy: MlpPolicy, normalize: true}}")
    assert main(["train", "--env", ENV, "-conf", "my.yml", "--eval-freq", "-1"]) == 0
    assert main(["enjoy", "--env", ENV, "-n", "10", "--no-render"]) == 0
    with open(RUN / ENV / "vecnormalize.pkl", "rb") as file:
        assert isinstance(pickle.load(file), VecNormalize)
