"""Kills training processes, damages model files and lets system calls fail, and counts the results.

``python examples/benchmarks/torture.py kills`` kills processes with SIGKILL at random moments while
they train and save after every update. After each kill the file must load, hold the last step that
was saved, and train on. ``--in-place`` does the same with SB3's own ``save``, for comparison.

``python examples/benchmarks/torture.py damage`` loads files with bit flips, cuts and garbage in
every part, with and without ``safe=True``. ``load`` must refuse the file with a ValueError, or give
the same model.

``python examples/benchmarks/torture.py faults`` lets a system call fail while a model is saved.
"""

import argparse
import io
import multiprocessing
import os
import random
import signal
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.env_util import make_vec_env
from torture_files import cases, damage, fault, small_model
from tqdm import tqdm

from sb3_tdac import TDAC

RESULTS = Path(__file__).parent / "results/reliability"
ENDLESS = 10**9
#: A process is killed after at most so many seconds.
LONGEST_LIFE = 0.3
#: Counted by ``kill``.
EVENTS = (
    "kills",
    "kills before the first checkpoint",
    "kills while saving",
    "loaded and continued",
    "unreadable",
    "steps lost beyond the last checkpoint",
    "temporary files left",
)


class SaveOften(BaseCallback):
    """Saves before every rollout, and tells the parent process when it has saved.

    :param path: of the file, always the same
    :param saved: steps of the last model that was saved completely
    :param is_saving: 1 while the model is saved
    :param in_place: save as SB3 does
    """

    def __init__(self, path: Path, saved: Any, is_saving: Any, in_place: bool):
        super().__init__()
        self.path, self.saved, self.is_saving = path, saved, is_saving
        self.write = BaseAlgorithm.save if in_place else TDAC.save

    def _on_rollout_start(self) -> None:
        self.is_saving.value = 1
        self.write(self.model, self.path)
        self.saved.value, self.is_saving.value = self.model.num_timesteps, 0

    def _on_step(self) -> bool:
        return True


def train(path: Path, *flags: Any) -> None:
    """Train without end, from the file if it exists, until the process is killed."""
    env = make_vec_env("CartPole-v1", 2)
    if path.exists():
        TDAC.load(path, env).resume(ENDLESS, callback=SaveOften(path, *flags))
    TDAC("MlpPolicy", env, n_steps=4, seed=0).learn(ENDLESS, callback=SaveOften(path, *flags))


def kill(count: int, seed: int = 0, in_place: bool = False) -> Counter[str]:
    """Kill processes, one after the other; each goes on from the last one's file.

    :param count: number of processes
    :param seed: of the moments
    :param in_place: save as SB3 does
    :return: how often each event happened
    """
    context, moments, found = multiprocessing.get_context("fork"), random.Random(seed), Counter()
    small_model().save(io.BytesIO())  # imports once instead of in each child
    saved, is_saving = context.RawValue("q", 0), context.RawValue("b", 0)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "model.zip")
        for _ in tqdm(range(count), desc="kills", disable=count < 20):
            is_saving.value = 0
            process = context.Process(target=train, args=(path, saved, is_saving, in_place))
            process.start()
            time.sleep(moments.uniform(0.0, LONGEST_LIFE))
            os.kill(process.pid or 0, signal.SIGKILL)
            process.join()
            process.close()
            found["kills"] += 1
            found["kills while saving"] += is_saving.value
            found += look_at(path, saved)
    return found


def look_at(path: Path, saved: Any) -> Counter[str]:
    """Counts the events of one kill from the files that it left."""
    found = Counter({"temporary files left": 0})
    for left in path.parent.glob(".*.tmp"):
        left.unlink()
        found["temporary files left"] += 1
    if not (path.exists() or saved.value):
        return found + Counter({"kills before the first checkpoint": 1})
    try:
        model = TDAC.load(path, make_vec_env("CartPole-v1", 2))
        found["steps lost beyond the last checkpoint"] = max(0, saved.value - model.num_timesteps)
        steps = model.num_timesteps
        found["loaded and continued"] = int(model.resume(8).num_timesteps == steps + 8)
    except (ValueError, OSError):
        found["unreadable"] = 1
        saved.value = 0
        path.unlink(missing_ok=True)
    return found


def report_of_kills(count: int, seed: int, in_place: bool) -> pd.DataFrame:
    """A row for each event and how often it happened."""
    counts = kill(count, seed, in_place)
    return pd.DataFrame([(event, counts[event]) for event in EVENTS], columns=["what", "times"])


def report_of_damage(rounds: int, seed: int) -> pd.DataFrame:
    """A row for each way to load, damage and part of the file, all entries together."""
    found: Counter[tuple[str, str, str, str]] = Counter()
    for how, safe in (("load", False), ("safe=True", True)):
        for (kind, part, result), times in damage(rounds, seed, safe).items():
            found[how, kind, part.partition(" of ")[0], result] += times
    results = sorted({"refused", "identical", *(key[3] for key in found)}, reverse=True)
    kinds = sorted({key[:3] for key in found})
    rows = [(*kind, *(found[(*kind, result)] for result in results)) for kind in kinds]
    sums = [sum(column) for column in zip(*(row[3:] for row in rows), strict=True)]
    return pd.DataFrame(
        [*rows, ("all", "", "", *sums)], columns=["loaded by", "damage", "to", *results]
    )


def report_of_faults() -> pd.DataFrame:
    """A row for each failing call and outcome."""
    found = Counter((call, fault(call, code, there)) for call, code, there in cases())
    rows = [(*key, times) for key, times in found.items()]
    return pd.DataFrame(rows, columns=["failing call", "outcome", "times"])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("what", choices=["kills", "damage", "faults"])
    parser.add_argument("--kills", type=int, default=500, help="number of processes")
    parser.add_argument("--rounds", type=int, default=17, help="files of each damage and part")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--in-place", action="store_true", help="save as SB3 does, to compare")
    parser.add_argument("--out", type=Path, default=RESULTS)
    args = parser.parse_args()
    torch.set_num_threads(1)
    name = args.what
    if args.what == "kills":
        name += "_in_place" if args.in_place else ""
        rows = report_of_kills(args.kills, args.seed, args.in_place)
    elif args.what == "damage":
        rows = report_of_damage(args.rounds, args.seed)
    else:
        rows = report_of_faults()
    command = f"`python examples/benchmarks/torture.py {' '.join(sys.argv[1:])}`"
    text = f"{command}\n\n{rows.to_markdown(index=False)}\n"
    print(text)
    args.out.mkdir(parents=True, exist_ok=True)
    (args.out / f"{name}.md").write_text(text)


if __name__ == "__main__":
    main()
