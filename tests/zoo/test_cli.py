"""Every command has a help, and says in one line what is wrong."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from helpers.zoo import error_line

from sb3_tdac.zoo.cli import COMMANDS, main

ENV = "Pendulum-v1"


def test_help_lists_every_command(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--help"]) == 0
    lines = capsys.readouterr().out.splitlines()
    for name, (text, _) in COMMANDS.items():
        assert sum(line.split() == [name, *text.split()] for line in lines) == 1


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_a_help(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([command, "--help"]) == 0
    assert "usage:" in capsys.readouterr().out


def test_mistakes_are_one_line(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert error_line(capsys, "trian") == (
        "sb3-tdac: error: there is no command 'trian': did you mean train?"
    )
    assert "Pendum-v1 not found in gym registry" in error_line(
        capsys, "train", "--env", "Pendum-v1"
    )
    assert "there is no configuration file no.yml: see -conf" in error_line(
        capsys, "train", "--env", ENV, "-conf", "no.yml"
    )
    assert "folder was not found" in error_line(capsys, "enjoy", "--env", ENV)
    assert "folder was not found" in error_line(capsys, "record_video", "--env", ENV)
    assert "'no.pkl'" in error_line(capsys, "plot_from_file", "-i", "no")
    assert "'logs/tdac'" in error_line(capsys, "plot_train", "-e", ENV, "-f", "logs")
    assert "gives_none" in error_line(capsys, "train", "--gym-packages", "gives_none")


# What fails leaves its environment to the garbage collector.
@pytest.mark.filterwarnings("ignore:Exception ignored in")
def test_mistakes_in_a_configuration_are_one_line(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    right = {"n_timesteps": 64, "policy": "MlpPolicy"}
    entries: dict[str, Any] = {
        "unknown key 'gama' in my.yml, Pendulum-v1: did you mean gamma?": right | {"gama": 1},
        "missing key 'policy' in my.yml, Pendulum-v1: add it": {"n_timesteps": 64},
        "gamma must be finite and in [0.0, 1.0], got 2": right | {"gamma": 2},
        "learning_rate must be a number, a callable or a string like 'lin_7e-4'": right
        | {"learning_rate": "cosine_1e-3"},
        "my.yml is no configuration file": None,
    }
    for message, entry in entries.items():
        Path("my.yml").write_text(yaml.safe_dump({ENV: entry}))
        assert message in error_line(capsys, "train", "--env", ENV, "-conf", "my.yml")
    Path("my.yml").write_text("{")
    assert "ParserError" in error_line(capsys, "train", "--env", ENV, "-conf", "my.yml")


def test_without_rl_zoo3_the_remedy_is_named() -> None:
    commands = ["train", "sweep", "enjoy", "plot_train"]
    code = (
        "import sys; sys.modules['rl_zoo3'] = None; from sb3_tdac.zoo.cli import main\n"
        f"print([main([command]) for command in {commands}])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[1, 1, 1, 1]\n"
    remedy = "rl_zoo3 is not installed: pip install 'sb3_tdac[zoo]'"
    assert done.stderr.splitlines() == [f"sb3-tdac {name}: error: {remedy}" for name in commands]
