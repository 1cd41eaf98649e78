"""One training of a comparison: its settings, its folder, and whether it is finished."""

import importlib.metadata
import json
import platform
import shutil
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import gymnasium as gym
import rl_zoo3
import yaml
from gymnasium.spaces import Dict
from huggingface_sb3 import EnvironmentName
from rl_zoo3.exp_manager import ExperimentManager
from rl_zoo3.utils import ALGOS
from stable_baselines3.common.on_policy_algorithm import OnPolicyAlgorithm
from stable_baselines3.common.preprocessing import is_image_space

from sb3_tdac.zoo import ALGO
from sb3_tdac.zoo.manager import configurations

#: Files of a run, beside those of rl_zoo3.
SETTINGS, ENTRY, EVALUATIONS, LOG = "settings.json", "entry.yml", "evaluations.jsonl", "log.txt"
DETERMINISTIC, STOCHASTIC = "deterministic", "stochastic"
#: Environments of the on-policy algorithms where neither an entry nor the user says how many.
N_ENVS = 8
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
    """One algorithm on one environment with one seed.

    :param out: folder of the comparison
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
        [10, 20, 25]
        """
        last, freq = self.settings["n_timesteps"], self.settings["eval_freq"]
        return [*range(freq, last, freq), last]

    def evaluations(self) -> list[dict[str, Any]]:
        """What was written until now, one for each evaluation; the last one is stochastic."""
        path = self.folder / EVALUATIONS
        lines = path.read_text().splitlines(keepends=True) if path.is_file() else []
        # A line without its end is one that a killed process was writing.
        return [json.loads(line) for line in lines if line.endswith("\n")]

    def is_finished(self) -> bool:
        """Whether its evaluations are complete.

        :raises ValueError: if a run with other settings is in its place
        """
        if not self.folder.exists():
            return False
        path = self.folder / SETTINGS
        if not path.is_file():
            raise ValueError(f"{self.folder} is no run of a comparison: choose another --out")
        found = json.loads(path.read_text())["settings"]
        expected = [(DETERMINISTIC, step) for step in self.steps]
        expected += [(STOCHASTIC, self.steps[-1])]
        evaluations = [(row["mode"], row["step"]) for row in self.evaluations()]
        if found == self.settings:
            return evaluations == expected
        if not evaluations or evaluations[-1][0] != STOCHASTIC:
            return False
        differ = sorted(
            key for key in {**found, **self.settings} if found.get(key) != self.settings.get(key)
        )
        key = differ[0]
        raise ValueError(
            f"{self.folder} is a run with {key}={found.get(key)}, not {self.settings.get(key)}: "
            "choose another --out, or remove it"
        )

    def prepare(self) -> None:
        """Make its folder anew, without what an interrupted one left."""
        new = self.folder.with_name(f".{self.folder.name}")
        shutil.rmtree(new, ignore_errors=True)
        new.mkdir(parents=True)
        record = {"settings": self.settings, "versions": versions()}
        (new / SETTINGS).write_text(json.dumps(record, indent=1))
        (new / ENTRY).write_text(yaml.safe_dump({self.env: self.settings["entry"]}))
        shutil.rmtree(self.folder, ignore_errors=True)
        new.rename(self.folder)  # so that whatever interrupts this, no folder lacks its settings

    def used_versions(self) -> dict[str, str]:
        """Of the packages that it was trained with."""
        found: dict[str, str] = json.loads((self.folder / SETTINGS).read_text())["versions"]
        return found


def versions() -> dict[str, str]:
    """Of the packages that a result depends on."""
    from sb3_tdac import __version__

    installed = {name: importlib.metadata.version(name) for name in PACKAGES[1:]}
    return {"python": platform.python_version(), "sb3_tdac": __version__, **installed}


def check_names(envs: list[str], algos: list[str]) -> None:
    """Check that all are known, and none is named twice.

    :raises ValueError: if not
    """
    for what, names, known in (
        ("environment", envs, list(gym.envs.registry)),
        ("algorithm", algos, list(ALGOS)),
    ):
        for name in names:
            if names.count(name) > 1:
                raise ValueError(f"{what} {name!r} is named twice")
            if name not in known:
                closest = get_close_matches(name, known, n=1)
                hint = f"did you mean {closest[0]!r}?" if closest else "it is not registered"
                if what == "algorithm":
                    hint = f"choose from {', '.join(known)}"
                raise ValueError(f"unknown {what} {name!r}: {hint}")


def tuned_entry(env: str, algo: str, n_envs: int | None, n_timesteps: int) -> dict[str, Any]:
    """The configuration of an environment: rl_zoo3's own, or ours for TDAC.

    :raises ValueError: if there is none; rl_zoo3's ``default`` ones are not comparable
    """
    folder = configurations() if algo == ALGO else Path(rl_zoo3.__file__).parent / "hyperparams"
    path = folder / f"{algo}.yml"
    entries = yaml.safe_load(path.read_text())
    key = "atari" if ExperimentManager.is_atari(env) and env not in entries else env
    if key not in entries:
        raise ValueError(
            f"{path.name} has no entry for {env}: see --defaults for the constructors'"
        )
    entry: dict[str, Any] = entries[key]
    return {**entry, "n_timesteps": n_timesteps} | ({"n_envs": n_envs} if n_envs else {})


def default_entry(env: str, algo: str, n_envs: int | None, n_timesteps: int) -> dict[str, Any]:
    """No configuration but the policy, which the constructors have no default for.

    On-policy algorithms have ``N_ENVS`` environments, the others one.
    """
    algorithm = ALGOS[algo]
    space = gym.make(env).observation_space
    kind = "MultiInput" if isinstance(space, Dict) else "Cnn" if is_image_space(space) else "Mlp"
    names = [name for name in algorithm.policy_aliases if name.startswith(kind)]
    if not names:
        raise ValueError(f"{algo} has no {kind}Policy, which {env} needs")
    default = N_ENVS if issubclass(algorithm, OnPolicyAlgorithm) else 1
    return {"policy": names[0], "n_envs": n_envs or default, "n_timesteps": n_timesteps}
