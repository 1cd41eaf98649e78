"""``sb3-tdac compare``: several algorithms on several environments, with equal evaluations."""

import argparse
import importlib
import os
import shlex
from pathlib import Path
from typing import Any

import gymnasium as gym

from sb3_tdac.zoo import ALGO, register
from sb3_tdac.zoo.comparison import Comparison, random_return, thresholds
from sb3_tdac.zoo.pictures import draw
from sb3_tdac.zoo.pool import Pool, describe
from sb3_tdac.zoo.runs import Run, check_names, default_entry, tuned_entry
from sb3_tdac.zoo.tables import markdown
from sb3_tdac.zoo.worker import sigterm_interrupts


def compare(options: list[str]) -> None:
    """Train what is missing, and write tables and pictures of all.

    :param options: of the command line
    :raises ValueError: if they do not fit together
    :raises RuntimeError: if a run failed
    """
    parser = _parser()
    args = parser.parse_args(options)
    if args.folder is not None:
        comparison = Comparison.read(args.folder)
        comparison.thresholds |= thresholds(args.threshold, comparison.envs)
        _write(comparison, args.folder)
        return
    register()
    for package in args.gym_packages:
        importlib.import_module(package)
    _check(parser, args)
    runs = _runs(args)
    missing = [run for run in runs if not run.is_finished()]
    comparison = Comparison(
        command=shlex.join(["sb3-tdac", "compare", *options]),
        algos=args.algos,
        thresholds={
            **{env: gym.spec(env).reward_threshold for env in args.env},
            **thresholds(args.threshold, args.env),
        },
        random={env: random_return(env) for env in args.env},  # and it can be made at all
    )
    print(f"{len(runs) - len(missing)} of {len(runs)} runs are in {args.out}", flush=True)
    with sigterm_interrupts():
        failures = Pool(args.workers, args.gym_packages).train(missing)
    comparison.add([run for run in runs if run.is_finished()])
    lacking = comparison.lacking()
    if not lacking:
        _write(comparison, args.out)
    if failures:
        reasons = "; ".join(f"{describe(run)}: {why}" for run, why in failures)
        end = f"; no statistics: no seed of {lacking[0]} finished everywhere" if lacking else ""
        raise RuntimeError(f"{len(failures)} of {len(runs)} runs failed: {reasons}{end}")


def _write(comparison: Comparison, folder: Path) -> None:
    comparison.write(folder)
    draw(comparison, folder)
    path = folder / "comparison.md"
    path.write_text(markdown(comparison))
    print(f"Written to {path}")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="sb3-tdac compare",
        description="Train several algorithms on several environments, evaluate them equally, and "
        "write a table, a CSV file and pictures. The same command again trains what is missing.",
    )
    add = parser.add_argument
    add("--env", nargs="+", help="environments")
    add("--algos", nargs="+", default=[ALGO, "a2c", "ppo"], help="rl_zoo3's names of them")
    add("--seeds", type=int, default=5, help="number of seeds, which start at zero")
    add("-n", "--n-timesteps", type=int, help="environment steps of each run")
    add("--eval-freq", type=int, help="steps between evaluations; default: a tenth of all")
    add("--eval-episodes", type=int, default=20, help="episodes of an evaluation")
    add(
        "--defaults",
        action="store_true",
        help="constructors' defaults instead of rl_zoo3's configurations",
    )
    add(
        "--n-envs",
        type=int,
        help="environments of each run; default: the configuration's, or with --defaults 8 for "
        "on-policy algorithms and 1 for others",
    )
    add(
        "--threshold",
        nargs="+",
        default=[],
        help="return to reach: a number, or ENV=NUMBER for each environment; default: gymnasium's",
    )
    add("--workers", type=int, default=os.cpu_count(), help="processes; default: all CPUs")
    add("--device", default="cpu", help="PyTorch device")
    add("--gym-packages", nargs="+", default=[], help="modules that register environments")
    add("--out", type=Path, help="folder; default: logs/compare/STEPS_steps[_defaults]")
    add("--from", dest="folder", type=Path, help="only redraw what is in this folder")
    return parser


def _check(parser: argparse.ArgumentParser, args: argparse.Namespace) -> None:
    """Check the numbers, and fill in those that depend on others."""
    for option in ("env", "n_timesteps"):
        if getattr(args, option) is None:
            parser.error(f"--{option.replace('_', '-')} is needed, or --from")
    if args.eval_freq is None:
        args.eval_freq = max(1, args.n_timesteps // 10)
    for option in ("seeds", "n_timesteps", "eval_freq", "eval_episodes", "n_envs", "workers"):
        value = getattr(args, option)
        if value is not None and value < 1:
            parser.error(f"--{option.replace('_', '-')} must be at least 1, got {value}")
    if args.out is None:
        kind = "_defaults" if args.defaults else ""
        args.out = Path("logs") / "compare" / f"{args.n_timesteps}_steps{kind}"
    check_names(args.env, args.algos)


def _runs(args: argparse.Namespace) -> list[Run]:
    """All runs; seed by seed, so that an interrupted comparison has something of everything."""
    entry_of = default_entry if args.defaults else tuned_entry
    settings: dict[tuple[str, str], dict[str, Any]] = {
        (env, algo): {
            "n_timesteps": args.n_timesteps,
            "eval_freq": args.eval_freq,
            "eval_episodes": args.eval_episodes,
            "device": args.device,
            "entry": entry_of(env, algo, args.n_envs, args.n_timesteps),
        }
        for env in args.env
        for algo in args.algos
    }
    return [
        Run(args.out, env, algo, seed, entry)
        for seed in range(args.seeds)
        for (env, algo), entry in settings.items()
    ]
