"""How much memory a model takes: what its building and training add to a process."""

import gc
import subprocess
import sys

import pandas as pd
import psutil
import torch
from benchmark_contenders import EQUAL_WORK, Setting, bound, make_env
from tqdm import tqdm

CONTENDERS = EQUAL_WORK | {"environments only": bound}


def added_bytes(name: str, setting: Setting, steps: int) -> int:
    """Resident memory added by one contender, with its environments built and all imports done.

    :param name: contender
    :param setting: what it runs on
    :param steps: vectorised steps
    """
    make_env(setting).reset()
    import_what_optimizers_import()
    gc.collect()
    before = psutil.Process().memory_info().rss
    contender = CONTENDERS[name](setting)
    contender.run(steps)
    return psutil.Process().memory_info().rss - before


def import_what_optimizers_import() -> None:
    """The first step of the first optimizer imports torch's compiler, some 90 MB."""
    parameter = torch.nn.Parameter(torch.zeros(1))
    parameter.sum().backward()
    for optimizer in (torch.optim.Adam([parameter], fused=True), torch.optim.RMSprop([parameter])):
        optimizer.step()


def measure_memory(setting: Setting, steps: int, processes: int) -> pd.DataFrame:
    """The median of several fresh processes for each contender, in MB, with the extremes."""
    rows = []
    turns = [name for _ in range(processes) for name in CONTENDERS]
    for name in tqdm(turns, unit="process"):
        arguments = [name, setting.env_id, setting.n_envs, setting.n_steps, steps]
        command = [sys.executable, __file__, *map(str, arguments)]
        done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
        rows.append({"contender": name, "MB": int(done.stdout) / 1e6})
    by_contender = pd.DataFrame(rows).groupby("contender", sort=False)["MB"]
    return by_contender.agg(["median", "min", "max"]).round(2).reset_index()


if __name__ == "__main__":
    contender, env_id, n_envs, n_steps, n = sys.argv[1:]
    torch.set_num_threads(1)
    print(added_bytes(contender, Setting(env_id, int(n_envs), int(n_steps)), int(n)))
