"""One training of a comparison: its settings, its folder, and whether it is finished."""

import importlib.metadata
import json
import platform
import shutil
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypedDict

import yaml
from huggingface_sb3 import EnvironmentName

from sb3_tdac.zoo.hyperparams import Hyperparams

#: One evaluation: mode, step of the schedule, timesteps, seconds, cpu_seconds, returns of episodes.
EvaluationRow = dict[str, Any]
#: Files of a run, beside those of rl_zoo3.
SETTINGS, ENTRY, EVALUATIONS, LOG = "settings.json", "entry.yml", "evaluations.jsonl", "log.txt"
DETERMINISTIC, STOCHASTIC = "deterministic", "stochastic"
#: Each evaluation episode has an environment of its own, with this seed plus its number.
EVAL_SEED = 1_000_000
PACKAGES = (
    *("sb3_tdac", "stable_baselines3", "sb3_contrib", "rl_zoo3"),
    *("gymnasium", "torch", "numpy"),
)


class Settings(TypedDict, total=False):
    """All that the result of a run depends on, except its seed, as JSON holds it.

    ``algo`` is rl_zoo3's name, ``origin`` tells where ``entry``, rl_zoo3's configuration, comes
    from, and ``defaults`` are the constructor's arguments that the entry does not name.
    """

    algo: str
    n_timesteps: int
    eval_freq: int
    eval_episodes: int
    device: str
    origin: str
    entry: Hyperparams
    defaults: dict[str, str]


@dataclass(frozen=True)
class Run:
    """One contender on one environment with one seed.

    :param out: folder of the comparison
    :param env: environment
    :param algo: name of the contender
    :param seed: seed
    :param settings: all that the result depends on
    """

    out: Path
    env: str
    algo: str
    seed: int
    settings: Settings

    def __str__(self) -> str:
        return f"{self.algo} on {self.env}, seed {self.seed}"

    @property
    def folder(self) -> Path:
        """The folder that rl_zoo3 would use, with the seed plus one as its number."""
        return self.out / self.algo / f"{EnvironmentName(self.env)}_{self.seed + 1}"

    @property
    def steps(self) -> list[int]:
        """Environment steps after which it is evaluated; the last time is after training.

        >>> Run(Path(), "", "", 0, {"n_timesteps": 25, "eval_freq": 10}).steps
        [0, 10, 20, 25]
        """
        last, freq = self.settings["n_timesteps"], self.settings["eval_freq"]
        return [*range(0, last, freq), last]

    def evaluations(self) -> list[EvaluationRow]:
        """Read the evaluations that were written until now."""
        path = self.folder / EVALUATIONS
        lines = path.read_text().splitlines(keepends=True) if path.is_file() else []
        # A killed process may have left an unfinished line.
        return [json.loads(line) for line in lines if line.endswith("\n")]

    def has_ended(self) -> bool:
        """Tell whether each mode was evaluated at all steps."""
        found = {(row["mode"], row["step"]) for row in self.evaluations()}
        return found >= {
            (mode, step) for mode in (DETERMINISTIC, STOCHASTIC) for step in self.steps
        }

    def is_finished(self) -> bool:
        """Tell whether its evaluations are complete.

        :raises ValueError: if a run with other settings is in its place
        """
        if not self.folder.exists():
            return False
        if not (self.folder / SETTINGS).is_file():
            raise ValueError(f"{self.folder} is no run of a comparison: choose another --out")
        settings = json.loads((self.folder / SETTINGS).read_text())["settings"]
        found = replace(self, settings=settings)
        if found.settings == self.settings:
            return self.has_ended()
        if not found.has_ended():
            return False
        theirs, ours = _flat(found.settings), _flat(self.settings)
        key = min(key for key in {**theirs, **ours} if theirs.get(key) != ours.get(key))
        raise ValueError(
            f"{self.folder} is a run with {key}={theirs.get(key)}, not {ours.get(key)}: "
            "choose another --out, or remove it"
        )

    def prepare(self) -> None:
        """Make its folder anew, without the files of an interrupted run."""
        new = self.folder.with_name(f".{self.folder.name}")
        shutil.rmtree(new, ignore_errors=True)
        new.mkdir(parents=True)
        record = {"env": self.env, "algo": self.algo, "seed": self.seed}
        record |= {"settings": self.settings, "versions": versions()}
        (new / SETTINGS).write_text(json.dumps(record, indent=1))
        (new / ENTRY).write_text(yaml.safe_dump({self.env: self.settings["entry"]}))
        shutil.rmtree(self.folder, ignore_errors=True)
        new.rename(self.folder)  # at once, so that no folder is ever without its settings

    @classmethod
    def read(cls, folder: Path) -> "Run":
        """Read the run that is in a folder.

        :param folder: folder with a file of settings
        """
        record = json.loads((folder / SETTINGS).read_text())
        known = {key: record[key] for key in ("env", "algo", "seed", "settings")}
        return cls(folder.parent.parent, **known)

    def used_versions(self) -> dict[str, str]:
        """Read the versions of the packages that it was trained with."""
        found: dict[str, str] = json.loads((self.folder / SETTINGS).read_text())["versions"]
        return found


def _flat(settings: Settings) -> dict[str, object]:
    """Put the settings and the constructor's defaults into one dict."""
    return {**settings.get("defaults", {}), **settings, "defaults": None}


def versions() -> dict[str, str]:
    """Look up the versions of the packages that a result depends on."""
    from sb3_tdac import __version__

    installed = {name: importlib.metadata.version(name) for name in PACKAGES[1:]}
    return {"python": platform.python_version(), "sb3_tdac": __version__, **installed}
