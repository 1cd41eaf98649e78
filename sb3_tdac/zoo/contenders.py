"""What a comparison compares: algorithms, and variants of them, with their configurations."""

import ast
import inspect
import re
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import gymnasium as gym
import rl_zoo3
import yaml
from gymnasium.spaces import Dict
from rl_zoo3.exp_manager import ExperimentManager
from rl_zoo3.utils import ALGOS
from stable_baselines3.common.on_policy_algorithm import OnPolicyAlgorithm
from stable_baselines3.common.preprocessing import is_image_space

from sb3_tdac.zoo import ALGO
from sb3_tdac.zoo.manager import ZOO_KEYS, configurations

DEFAULTS = "defaults"
#: Environments of the on-policy algorithms where neither an entry nor the user says how many.
N_ENVS = 8


@dataclass(frozen=True)
class Contender:
    """One algorithm as it is configured.

    :param name: ``ALGO``, ``ALGO-defaults``, or either with ``-KEY=VALUE`` once or more often
    :param algo: rl_zoo3's name of the algorithm
    :param defaults: with the constructor's defaults instead of a tuned configuration
    :param changes: of the configuration
    """

    name: str
    algo: str
    defaults: bool
    changes: dict[str, Any]

    @classmethod
    def parse(cls, name: str) -> "Contender":
        """A contender from its name.

        :param name: name
        :raises ValueError: if its algorithm or an argument is unknown

        >>> Contender.parse("a2c-defaults-learning_rate=1e-4")  # doctest: +NORMALIZE_WHITESPACE
        Contender(name='a2c-defaults-learning_rate=1e-4', algo='a2c', defaults=True,
                  changes={'learning_rate': 0.0001})
        """
        algo, *words = re.split(rf"-(?={DEFAULTS}(?:-|$)|[a-z_]+=)", name)
        if algo not in ALGOS:
            hint = f"choose from {', '.join(ALGOS)}, with -{DEFAULTS} or -KEY=VALUE after it"
            raise ValueError(f"unknown algorithm {name!r}: {hint}")
        changes = dict(word.split("=", 1) for word in words if word != DEFAULTS)
        known = {*inspect.signature(ALGOS[algo].__init__).parameters, *ZOO_KEYS} - {"self", "env"}
        for key in changes:
            if key not in known:
                closest = get_close_matches(key, known, n=1)
                hint = f"did you mean {closest[0]}?" if closest else "remove it"
                raise ValueError(f"unknown key {key!r} in {name!r}: {hint}")
        literals = {key: _literal(value) for key, value in changes.items()}
        return cls(name, algo, DEFAULTS in words, literals)

    def entry(self, env: str, n_envs: int | None, n_timesteps: int) -> tuple[str, dict[str, Any]]:
        """Its configuration for an environment.

        :param env: environment
        :param n_envs: number of environments; ``None``: the configuration's
        :param n_timesteps: environment steps
        :return: where it is from, and the entry as rl_zoo3 writes them
        """
        if self.defaults:
            origin, entry = "constructor", _default_entry(env, self.algo)
        else:
            origin, entry = _tuned_entry(env, self.algo)
        fixed = {"n_timesteps": n_timesteps} | ({"n_envs": n_envs} if n_envs else {})
        return origin, {**entry, **self.changes, **fixed}

    def constructor_defaults(self, entry: dict[str, Any]) -> dict[str, str]:
        """What its entry leaves to the constructor: a run with other defaults is another run.

        :param entry: configuration
        """
        algorithm = ALGOS[self.algo]
        policy = algorithm.policy_aliases.get(entry.get("policy", ""))
        parts = [policy, algorithm] if policy else [algorithm]
        return {
            name: repr(parameter.default)
            for part in parts
            for name, parameter in inspect.signature(part.__init__).parameters.items()
            if parameter.default is not inspect.Parameter.empty
            and name not in {*entry, "seed", "device", "verbose", "_init_setup_model"}
        }


def _literal(value: str) -> Any:
    """A number, truth value or list; everything else is a word, as in rl_zoo3's files."""
    try:
        return ast.literal_eval(value)
    except (SyntaxError, ValueError):
        return value


def _tuned_entry(env: str, algo: str) -> tuple[str, dict[str, Any]]:
    """The entry of an environment, or of its newest older version, or the file's ``default``.

    :raises ValueError: if there is none of these
    """
    folder = configurations() if algo == ALGO else Path(rl_zoo3.__file__).parent / "hyperparams"
    path = folder / f"{algo}.yml"
    entries: dict[str, dict[str, Any]] = yaml.safe_load(path.read_text())
    name, _, version = env.rpartition("-v")
    older = [f"{name}-v{n}" for n in reversed(range(int(version)))] if version.isdigit() else []
    atari = ["atari"] if ExperimentManager.is_atari(env) else []
    for key in (env, *atari, *older, "default"):
        if key in entries:
            return f"{path.name}, {key}", entries[key]
    raise ValueError(
        f"{path.name} has no entry for {env}: see {algo}-{DEFAULTS} for the constructor's"
    )


def _default_entry(env: str, algo: str) -> dict[str, Any]:
    """No configuration but the policy, which the constructors have no default for.

    On-policy algorithms have ``N_ENVS`` environments, the others one.

    :raises ValueError: if the algorithm has no policy for the observations
    """
    algorithm = ALGOS[algo]
    space = gym.make(env).observation_space
    kind = "MultiInput" if isinstance(space, Dict) else "Cnn" if is_image_space(space) else "Mlp"
    names = [name for name in algorithm.policy_aliases if name.startswith(kind)]
    if not names:
        raise ValueError(f"{algo} has no {kind}Policy, which {env} needs")
    n_envs = N_ENVS if issubclass(algorithm, OnPolicyAlgorithm) else 1
    return {"policy": names[0], "n_envs": n_envs}
