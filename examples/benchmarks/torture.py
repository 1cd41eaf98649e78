"""Kill training processes, damage model files and break the disk, and count what is lost.

``python examples/torture.py kills``: processes that train and save after every update are killed
with SIGKILL at random moments; after each, the file must load, hold the last step that was saved,
and train on. ``--in-place`` does the same to SB3's own way of saving, for comparison.

``python examples/torture.py damage``: bit flips, cuts and garbage in every part of a file; with
``safe=True`` and without, ``load`` must refuse it with a ValueError, or give the same model.

``python examples/torture.py faults``: an operating system call fails while a model is saved.
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

import torch
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.env_util import make_vec_env
from torture_files import cases, damage, fault, small_model
from tqdm import tqdm

from sb3_tdac import TDAC

RESULTS = Path(__file__).parent / "results" / "reliability"
ENDLESS = 10**9
#: Seconds after which a process is killed at the latest.
LONGEST_LIFE = 0.3
#: What ``kill`` counts.
WHAT = (
    "kills",
    "kills before the first checkpoint",
    "kills while saving",
    "loaded and continued",
    "unreadable",
    "steps lost beyond the last checkpoint",
    "temporary files left",
)


class SaveOften(BaseCallback):
    """Save before every rollout, and tell the parent process when it is done.

    :param path: of the file, always the same
    :param saved: steps of the last model that was saved completely
    :param is_saving: 1 while it is saved
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
    """What is killed: go on from the file, if there is one."""
    env = make_vec_env("CartPole-v1", 2)
    if path.exists():
        TDAC.load(path, env).resume(ENDLESS, callback=SaveOften(path, *flags))
    TDAC("MlpPolicy", env, n_steps=4, seed=0).learn(ENDLESS, callback=SaveOften(path, *flags))


def kill(count: int, seed: int = 0, in_place: bool = False) -> Counter[str]:
    """Kill ``count`` processes, one after the other, that go on where the last one stopped.

    :param count: number of processes
    :param seed: of the moments
    :param in_place: save as SB3 does
    :return: how often what happened, and the steps that the last file holds
    """
    context, moments, found = multiprocessing.get_context("fork"), random.Random(seed), Counter()
    small_model().save(io.BytesIO())  # imports what children would import each
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
    """What a kill left behind."""
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


def table(title: str, rows: list[tuple[Any, ...]]) -> str:
    """A table of Markdown; the first row is its head."""
    lines = [f"| {' | '.join(map(str, row))} |" for row in rows]
    return "\n".join([title, "", lines[0], "|---" * len(rows[0]) + "|", *lines[1:], ""])


def report_of_kills(count: int, seed: int, in_place: bool) -> list[tuple[Any, ...]]:
    """Rows of the table."""
    counts = kill(count, seed, in_place)
    return [("what", "times"), *((what, counts[what]) for what in WHAT)]


def report_of_damage(rounds: int, seed: int) -> list[tuple[Any, ...]]:
    """Rows of the table: entries of the file together."""
    found: Counter[tuple[str, str, str, str]] = Counter()
    for how, safe in (("load", False), ("safe=True", True)):
        for (kind, part, result), times in damage(rounds, seed, safe).items():
            found[how, kind, part.partition(" of ")[0], result] += times
    results = sorted({"refused", "identical", *(key[3] for key in found)}, reverse=True)
    kinds = sorted({key[:3] for key in found})
    rows = [(*kind, *(found[(*kind, result)] for result in results)) for kind in kinds]
    sums = [sum(column) for column in zip(*(row[3:] for row in rows), strict=True)]
    return [("loaded by", "damage", "to", *results), *rows, ("all", "", "", *sums)]


def report_of_faults() -> list[tuple[Any, ...]]:
    """Rows of the table."""
    found = Counter((call, fault(call, code, there)) for call, code, there in cases())
    return [("failing call", "outcome", "times"), *((*key, n) for key, n in found.items())]


def main() -> None:
    """Run one of the three, print its table, and write it to the results."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("what", choices=["kills", "damage", "faults"])
    parser.add_argument("--kills", type=int, default=500, help="number of processes")
    parser.add_argument("--rounds", type=int, default=17, help="files of each damage and part")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--in-place", action="store_true", help="save as SB3 does, to compare")
    parser.add_argument("--out", type=Path, default=RESULTS)
    options = parser.parse_args()
    torch.set_num_threads(1)
    name = options.what
    if options.what == "kills":
        name += "_in_place" if options.in_place else ""
        rows = report_of_kills(options.kills, options.seed, options.in_place)
    elif options.what == "damage":
        rows = report_of_damage(options.rounds, options.seed)
    else:
        rows = report_of_faults()
    text = table(f"`python examples/torture.py {' '.join(sys.argv[1:])}`", rows)
    print(text)
    options.out.mkdir(parents=True, exist_ok=True)
    (options.out / f"{name}.md").write_text(text)


if __name__ == "__main__":
    main()
