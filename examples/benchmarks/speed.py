"""Measures the speed of TDAC beside A2C, PPO, SBX's PPO and environments without learning.

All contenders run in one process with one thread, on CPU time, and take turns. A figure is the
median over rounds of the ratio to SB3's A2C in the same round, for whole ``learn()`` calls with
the same network (two layers of 64, tanh), environments and n_steps. "Equal work" is TDAC with the
choices of A2C; the defaults normalize, and take four critic steps in each update.

python examples/benchmarks/speed.py --quick            two minutes instead of fifteen
python examples/benchmarks/speed.py --sweep n_envs     or width, or n_steps
python examples/benchmarks/speed.py --memory
python examples/benchmarks/speed.py --profile
"""

import argparse
from dataclasses import replace
from pathlib import Path

import pandas as pd
import torch
from speed_contenders import (
    CONTENDERS,
    EQUAL_WORK,
    OTHER_VEC_ENV,
    SETTINGS,
    Factory,
    Setting,
    bound,
    build,
)
from speed_measure import BOUND, REFERENCE, measure, measure_memory, summarize
from speed_profile import measure_profile
from speed_report import draw_bars, draw_sweep, speed_tables, write

SWEEPS = {
    "n_envs": [1, 2, 4, 8, 16, 32, 64, 128, 256],
    "width": [16, 32, 64, 128, 256, 512, 1024],
    "n_steps": [1, 2, 4, 8, 16, 32, 64, 128, 256],
}


def compare(settings: list[Setting], rounds: int, seconds: float, out: Path) -> None:
    """Measure all contenders in all settings."""
    parts = []
    for setting in settings:
        others = {} if setting.vec_env == "DummyVecEnv" else OTHER_VEC_ENV
        part = run(setting, CONTENDERS | others, rounds, seconds)
        parts.append(part.assign(setting=str(setting)))
    summary = join(parts)
    draw_bars(summary, out / "speed.png")
    write(out, "speed", summary, speed_tables(summary))


def sweep(
    base: Setting, swept: str, values: list[int], rounds: int, seconds: float, out: Path
) -> None:
    """Measure against one number, with the others as in ``base``."""
    parts = []
    for value in values:
        setting = replace(base, **{swept: value})
        part = run(setting, EQUAL_WORK | {BOUND: bound}, rounds, seconds)
        parts.append(part.assign(**{swept: value}, setting=f"{swept}={value}"))
    summary = join(parts)
    draw_sweep(summary, swept, out / f"speed_{swept}.png")
    write(out, f"speed_{swept}", summary, speed_tables(summary))


def run(
    setting: Setting, factories: dict[str, Factory], rounds: int, seconds: float
) -> pd.DataFrame:
    """Figures of one setting; none if only one contender, or no A2C, can run."""
    print(setting, flush=True)
    contenders = build(setting, factories)
    if not contenders.keys() > {REFERENCE, BOUND}:
        return pd.DataFrame()
    return summarize(measure(contenders, rounds, seconds))


def join(parts: list[pd.DataFrame]) -> pd.DataFrame:
    """One table of all settings."""
    measured = [part for part in parts if len(part)]
    if not measured:
        raise SystemExit("nothing was measured: the lines above say which module is missing")
    return pd.concat(measured)


def parse() -> argparse.Namespace:
    description, commands = __doc__.split("\n\npython", 1)
    parser = argparse.ArgumentParser(
        description=description,
        epilog="python" + commands,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    what = parser.add_mutually_exclusive_group()
    what.add_argument("--sweep", choices=SWEEPS, help="cost against one number")
    what.add_argument("--memory", action="store_true", help="memory that a model adds")
    what.add_argument("--profile", action="store_true", help="where the time goes")
    parser.add_argument("--quick", action="store_true", help="3 rounds of 0.1 s instead")
    parser.add_argument("--rounds", type=int, default=9, help="turns of each contender")
    parser.add_argument("--seconds", type=float, default=0.7, help="CPU time of a turn")
    parser.add_argument("--only", default="", help="settings of the table with this in their name")
    parser.add_argument("--env", default="Pendulum-v1", help="of a sweep, memory and profile")
    parser.add_argument("--n-envs", type=int, default=8, help="likewise")
    parser.add_argument("--n-steps", type=int, default=5, help="likewise")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results/speed")
    args = parser.parse_args()
    if args.quick:
        args.rounds, args.seconds = 3, 0.1
    for name in ("rounds", "seconds", "n_envs", "n_steps"):
        if getattr(args, name) <= 0:
            option = name.replace("_", "-")
            parser.error(f"--{option} must be positive, got {getattr(args, name)}")
    if not any(args.only in str(setting) for setting in SETTINGS):
        names = ", ".join(map(str, SETTINGS))
        parser.error(f"--only must be part of one of {names}, got {args.only}")
    return args


def main() -> None:
    args = parse()
    args.out.mkdir(parents=True, exist_ok=True)
    torch.set_num_threads(1)
    base = Setting(args.env, args.n_envs, args.n_steps)
    if args.sweep:
        sweep(base, args.sweep, SWEEPS[args.sweep], args.rounds, args.seconds, args.out)
    elif args.memory:
        table = measure_memory(base, steps=2_000, processes=args.rounds)
        write(args.out, "memory", table.reset_index(), f"{base}\n\n{table.to_markdown()}")
    elif args.profile:
        table = measure_profile(base, args.rounds, args.seconds)
        write(args.out, "profile", table.reset_index(), f"{base}\n\n{table.to_markdown()}")
    else:
        settings = [setting for setting in SETTINGS if args.only in str(setting)]
        compare(settings, args.rounds, args.seconds, args.out)


if __name__ == "__main__":
    main()
