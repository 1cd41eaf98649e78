"""Trains for very long: memory, file handles, processes and speed must stay the same.

    python examples/benchmarks/soak.py

At equal intervals the model is saved, loaded, and evaluated in new processes. These count for
memory and handles. The speed is steps per second of CPU time, of training alone.
"""

import argparse
import gc
import tempfile
import time
from pathlib import Path

import matplotlib
import pandas as pd
import psutil
import torch
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.env_util import make_vec_env
from stable_baselines3.common.evaluation import evaluate_policy
from stable_baselines3.common.logger import configure
from stable_baselines3.common.vec_env import SubprocVecEnv

from sb3_tdac import TDAC
from sb3_tdac.vec_envs import GymnasiumVecEnv

MIB, FORK = 2**20, dict(start_method="fork")


def used() -> dict[str, float]:
    """Memory in MiB and the number of file handles, processes and threads of this process."""
    gc.collect()
    process = psutil.Process()
    memory = process.memory_info()
    return {
        "resident": memory.rss / MIB,
        "own": (memory.rss - memory.shared) / MIB,  # without files shared between processes
        "handles": process.num_fds(),
        "processes": len(process.children(recursive=True)),
        "threads": process.num_threads(),
    }


class Watch(BaseCallback):
    """Takes a row of figures every ``interval`` steps, after a save, a load and an evaluation."""

    def __init__(self, interval: int, folder: Path):
        super().__init__()
        self.interval, self.folder = interval, folder
        self.rows: list[dict[str, float]] = []

    def _on_training_start(self) -> None:
        self.started = time.process_time()

    def _on_step(self) -> bool:
        return True

    def _on_rollout_end(self) -> None:
        if self.num_timesteps < self.interval * (len(self.rows) + 1):
            return
        row = {"steps": self.num_timesteps, "cpu_seconds": time.process_time() - self.started}
        self.model.save(self.folder / "model")
        loaded = TDAC.load(self.folder / "model")
        loaded = TDAC.load(self.folder / "model", safe=True)
        env = make_vec_env("CartPole-v1", 2, seed=0, vec_env_cls=SubprocVecEnv, vec_env_kwargs=FORK)
        row["return"], _ = evaluate_policy(loaded, env, n_eval_episodes=2)
        env.close()
        del loaded
        self.rows.append(row | used())
        self.started = time.process_time()


def soak(timesteps: int, n_envs: int, samples: int, seed: int) -> tuple[pd.DataFrame, pd.Series]:
    """Train on CartPole.

    :return: a row of figures for each sample, and the handles, processes and threads still in use
    """
    with tempfile.TemporaryDirectory() as folder:
        before = used()
        env = GymnasiumVecEnv.make("CartPole-v1", n_envs, seed=seed)
        model = TDAC("MlpPolicy", env, seed=seed, device="cpu")
        model.set_logger(configure(folder, ["csv"]))
        watch = Watch(timesteps // samples, Path(folder))
        model.learn(timesteps, watch)
        model.logger.close()
        env.close()
        after = used()
    names = ["handles", "processes", "threads"]
    return pd.DataFrame(watch.rows), pd.Series(after)[names] - pd.Series(before)[names]


def summary(rows: pd.DataFrame, left: pd.Series) -> dict[str, str]:
    """Growth of memory, leaks and speed of the run, as text."""
    tenth, settled = max(1, len(rows) // 10), rows[rows["steps"] >= min(10**6, rows["steps"].max())]
    speed = rows["steps"].diff().fillna(rows["steps"]) / rows["cpu_seconds"]
    first, last = speed.head(tenth).mean(), speed.tail(tenth).mean()
    growth = {kind: settled[kind].max() - settled[kind].iloc[0] for kind in ("resident", "own")}
    return {
        "steps": f"{rows['steps'].iloc[-1]:,}",
        "CPU time of training, s": f"{rows['cpu_seconds'].sum():.0f}",
        "growth of resident memory after the first million, MiB": f"{growth['resident']:.2f}",
        "growth of its own memory after the first million, MiB": f"{growth['own']:.2f}",
        "file handles not given back": f"{left['handles']:.0f}",
        "processes not given back": f"{left['processes']:.0f}",
        "threads not given back": f"{left['threads']:.0f}",
        "steps/s of CPU time, first tenth": f"{first:,.0f}",
        "steps/s of CPU time, last tenth": f"{last:,.0f}",
        "last over first": f"{last / first:.3f}",
    }


def plot(rows: pd.DataFrame, path: Path) -> None:
    """Memory and speed against steps."""
    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    figure, (top, bottom) = plt.subplots(2, sharex=True, figsize=(6, 5), layout="constrained")
    millions = rows["steps"] / 1e6
    for kind in ("resident", "own"):
        top.plot(millions, rows[kind] - rows[kind].iloc[0], label=kind)
    top.set_ylabel("memory above the first sample, MiB")
    top.legend()
    speed = rows["steps"].diff().fillna(rows["steps"]) / rows["cpu_seconds"]
    bottom.plot(millions, speed / 1e3)
    bottom.set(ylabel="thousand steps/s of CPU time", xlabel="million steps", ylim=(0, None))
    figure.savefig(path, dpi=80)
    plt.close(figure)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--timesteps", type=int, default=20_000_000)
    parser.add_argument("--n-envs", type=int, default=16)
    parser.add_argument("--samples", type=int, default=40, help="rows of figures")
    parser.add_argument("--seed", type=int, default=0)
    results = Path(__file__).parent / "results/reliability"
    parser.add_argument("--out", type=Path, default=results)
    args = parser.parse_args()
    torch.set_num_threads(1)
    rows, left = soak(args.timesteps, args.n_envs, args.samples, args.seed)
    args.out.mkdir(parents=True, exist_ok=True)
    rows.round(3).to_csv(args.out / "soak.csv", index=False)
    figures = pd.Series(summary(rows, left), name="value").rename_axis("figure")
    text = figures.to_markdown(disable_numparse=True)
    (args.out / "soak.md").write_text(text + "\n")
    plot(rows, args.out / "soak.png")
    print(text)


if __name__ == "__main__":
    main()
