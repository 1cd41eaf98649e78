"""The contenders of a comparison: algorithms and their variants, with their configurations."""

import ast
import inspect
import re
from dataclasses import dataclass
from pathlib import Path

import gymnasium as gym
import rl_zoo3
import yaml
from gymnasium.spaces import Dict
from rl_zoo3.exp_manager import ExperimentManager
from rl_zoo3.utils import ALGOS
from stable_baselines3.common.on_policy_algorithm import OnPolicyAlgorithm
from stable_baselines3.common.preprocessing import is_image_space

from sb3_tdac.zoo import ALGO
from sb3_tdac.zoo.hyperparams import Hyperparams
from sb3_tdac.zoo.manager import check_key, configurations

DEFAULTS = "defaults"
#: Environments of the on-policy algorithms, if neither an entry nor the user gives a number.
N_ENVS = 8


@dataclass(frozen=True)
class Contender:
    """One algorithm with its configuration.

    :param name: ``ALGO`` or ``ALGO-defaults``, and any number of ``-KEY=VALUE``
    :param algo: rl_zoo3's name of the algorithm
    :param defaults: whether it has the constructor's defaults instead of a tuned configuration
    :param changes: changes of the configuration
    """

    name: str
    algo: str
    defaults: bool
    changes: Hyperparams

    @classmethod
    def parse(cls, name: str) -> "Contender":
        """Make a contender from its name.

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
        for key in changes:
            check_key(key, ALGOS[algo], where=repr(name))
        literals = {key: _literal(value) for key, value in changes.items()}
        return cls(name, algo, DEFAULTS in words, literals)

    def entry(self, env: str, n_envs: int | None, n_timesteps: int) -> tuple[str, Hyperparams]:
        """Look up its configuration for an environment.

        :param n_envs: number of environments; ``None``: the configuration's
        :return: where the entry comes from, and the entry in the form of rl_zoo3's files
        """
        if self.defaults:
            origin, entry = "constructor", _default_entry(env, self.algo)
        else:
            origin, entry = _tuned_entry(env, self.algo)
        fixed = {"n_timesteps": n_timesteps} | ({"n_envs": n_envs} if n_envs else {})
        return origin, {**entry, **self.changes, **fixed}

    def constructor_defaults(self, entry: Hyperparams) -> dict[str, str]:
        """Read the arguments that an entry leaves to the constructor.

        A run of a version with other defaults is another run.
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


def _literal(value: str) -> object:
    """Convert a number, truth value or list; all else is a string, as in rl_zoo3's files."""
    try:
        return ast.literal_eval(value)
    except (SyntaxError, ValueError):
        return value


def _tuned_entry(env: str, algo: str) -> tuple[str, Hyperparams]:
    """Look up an environment, or its newest older version, or the file's ``default``.

    :raises ValueError: if the file has none of them
    """
    folder = configurations() if algo == ALGO else Path(rl_zoo3.__file__).parent / "hyperparams"
    path = folder / f"{algo}.yml"
    entries: dict[str, Hyperparams] = yaml.safe_load(path.read_text())
    name, _, version = env.rpartition("-v")
    older = [f"{name}-v{n}" for n in reversed(range(int(version)))] if version.isdigit() else []
    atari = ["atari"] if ExperimentManager.is_atari(env) else []
    for key in (env, *atari, *older, "default"):
        if key in entries:
            return f"{path.name}, {key}", entries[key]
    raise ValueError(
        f"{path.name} has no entry for {env}: see {algo}-{DEFAULTS} for the constructor's"
    )


def _default_entry(env: str, algo: str) -> Hyperparams:
    """Make an entry of the two keys that constructors have no defaults for.

    The policy is the one for the observations. On-policy algorithms have ``N_ENVS`` environments,
    the others one.

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
