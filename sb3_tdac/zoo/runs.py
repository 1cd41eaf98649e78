"""One training of a comparison: its settings, its folder, and whether it is finished."""

import importlib.metadata
import json
import platform
import shutil
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import yaml
from huggingface_sb3 import EnvironmentName

#: Files of a run, beside those of rl_zoo3.
SETTINGS, ENTRY, EVALUATIONS, LOG = "settings.json", "entry.yml", "evaluations.jsonl", "log.txt"
DETERMINISTIC, STOCHASTIC = "deterministic", "stochastic"
PACKAGES = (
    "sb3_tdac",
    "stable_baselines3",
    "sb3_contrib",
    "rl_zoo3",
    "gymnasium",
    "torch",
    "numpy",
)


@dataclass(frozen=True)
class Run:
    """One contender on one environment with one seed.

    :param out: folder of the comparison
    :param env: environment
    :param algo: name of the contender
    :param seed: seed
    :param settings: all that the result depends on, as JSON holds it
    """

    out: Path
    env: str
    algo: str
    seed: int
    settings: dict[str, Any]

    @property
    def folder(self) -> Path:
        """Where rl_zoo3 would put it, with the seed plus one as its number."""
        return self.out / self.algo / f"{EnvironmentName(self.env)}_{self.seed + 1}"

    @property
    def steps(self) -> list[int]:
        """Environment steps after which it is evaluated; the last time is after training.

        >>> Run(Path(), "", "", 0, {"n_timesteps": 25, "eval_freq": 10}).steps
        [0, 10, 20, 25]
        """
        last, freq = self.settings["n_timesteps"], self.settings["eval_freq"]
        return [*range(0, last, freq), last]

    def evaluations(self) -> list[dict[str, Any]]:
        """What was written until now, one for each evaluation."""
        path = self.folder / EVALUATIONS
        lines = path.read_text().splitlines(keepends=True) if path.is_file() else []
        # A line without its end is one that a killed process was writing.
        return [json.loads(line) for line in lines if line.endswith("\n")]

    def has_ended(self) -> bool:
        """Whether each mode was evaluated at all steps."""
        found = {(row["mode"], row["step"]) for row in self.evaluations()}
        return found >= {
            (mode, step) for mode in (DETERMINISTIC, STOCHASTIC) for step in self.steps
        }

    def is_finished(self) -> bool:
        """Whether its evaluations are complete.

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
        """Make its folder anew, without what an interrupted one left."""
        new = self.folder.with_name(f".{self.folder.name}")
        shutil.rmtree(new, ignore_errors=True)
        new.mkdir(parents=True)
        record = {"env": self.env, "algo": self.algo, "seed": self.seed}
        record |= {"settings": self.settings, "versions": versions()}
        (new / SETTINGS).write_text(json.dumps(record, indent=1))
        (new / ENTRY).write_text(yaml.safe_dump({self.env: self.settings["entry"]}))
        shutil.rmtree(self.folder, ignore_errors=True)
        new.rename(self.folder)  # so that whatever interrupts this, no folder lacks its settings

    @classmethod
    def read(cls, folder: Path) -> "Run":
        """The run that is in a folder.

        :param folder: folder with a file of settings
        """
        record = json.loads((folder / SETTINGS).read_text())
        known = {key: record[key] for key in ("env", "algo", "seed", "settings")}
        return cls(folder.parent.parent, **known)

    def used_versions(self) -> dict[str, str]:
        """Of the packages that it was trained with."""
        found: dict[str, str] = json.loads((self.folder / SETTINGS).read_text())["versions"]
        return found


def _flat(settings: dict[str, Any]) -> dict[str, Any]:
    """Settings with those of the constructor beside the others."""
    return {**settings.get("defaults", {}), **settings, "defaults": None}


def versions() -> dict[str, str]:
    """Of the packages that a result depends on."""
    from sb3_tdac import __version__

    installed = {name: importlib.metadata.version(name) for name in PACKAGES[1:]}
    return {"python": platform.python_version(), "sb3_tdac": __version__, **installed}
