"""What the checks of numbers, and the copy of the model before each update, cost on the fast path.

The same model learns with and without them, in turns; a figure is the median over rounds of the
ratio of CPU times, less one, with its quartiles.

python examples/benchmark_checks.py --rounds 60
"""

import argparse
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from unittest import mock

import numpy as np
import torch
from stable_baselines3.common.env_util import make_vec_env

from sb3_tdac import TDAC, tdac
from sb3_tdac.fast import Kernels, library, network

#: Environment, number of environments, n_steps (None: the default).
SETTINGS = (
    *(("Pendulum-v1", 8, None), ("Pendulum-v1", 1, None)),
    *(("Pendulum-v1", 1, 5), ("CartPole-v1", 1, 5)),
)


def nothing(*_: Any) -> bool:
    """In the place of a check: what it would say of good numbers."""
    return True


@contextmanager
def without_checks() -> Iterator[None]:
    """No checks and no copies; what C looks at while it has the numbers at hand stays."""
    patches = [mock.patch.object(Kernels, "update", Kernels._update)]
    patches += [mock.patch.object(network.Network, name, nothing) for name in ("keep", "restore")]
    patches += [mock.patch.object(library.load(), "is_finite", nothing)]
    names = ("check_observations", "check_rollout")
    patches += [mock.patch.object(tdac, name, nothing) for name in names]
    for patch in patches:
        patch.start()
    try:
        yield
    finally:
        for patch in patches:
            patch.stop()


def seconds(model: TDAC, steps: int) -> float:
    """CPU time of learning for a while."""
    start = time.process_time()
    model.learn(steps, reset_num_timesteps=False)
    return time.process_time() - start


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=60)
    parser.add_argument("--updates", type=int, default=400)
    args = parser.parse_args()
    torch.set_num_threads(1)
    for env_id, n_envs, n_steps in SETTINGS:
        model = TDAC("MlpPolicy", make_vec_env(env_id, n_envs, seed=0), n_steps=n_steps, seed=0)
        steps, ratios = args.updates * model.n_steps * n_envs, []
        seconds(model, steps)
        for round_ in range(args.rounds):
            times = {}
            for checked in (round_ % 2 == 0, round_ % 2 == 1):
                if checked:
                    times[checked] = seconds(model, steps)
                else:
                    with without_checks():
                        times[checked] = seconds(model, steps)
            ratios.append(times[True] / times[False])
        low, median, high = 100 * (np.quantile(ratios, [0.25, 0.5, 0.75]) - 1)
        print(f"{env_id}, {n_envs} x {model.n_steps}: {median:+.1f} % ({low:+.1f} ... {high:+.1f})")


if __name__ == "__main__":
    main()
