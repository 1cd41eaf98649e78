"""``sb3-tdac compare``: reads its options, trains what is missing, and writes the results."""

import argparse
import importlib
import os
import platform
import shlex
from pathlib import Path

import gymnasium as gym

from sb3_tdac.zoo import ALGO, register
from sb3_tdac.zoo.compare.comparison import Comparison
from sb3_tdac.zoo.compare.contenders import Contender
from sb3_tdac.zoo.compare.folders import joined, read
from sb3_tdac.zoo.compare.pictures import draw
from sb3_tdac.zoo.compare.pool import Pool
from sb3_tdac.zoo.compare.runs import Run, Settings
from sb3_tdac.zoo.compare.tables import markdown
from sb3_tdac.zoo.messages import did_you_mean
from sb3_tdac.zoo.workers import sigterm_interrupts


def compare(options: list[str]) -> None:
    """Train the missing runs, and write tables and pictures of all runs.

    :param options: of the command line
    :raises ValueError: if the options contradict each other
    :raises RuntimeError: if a run failed
    """
    parser = _parser()
    args = parser.parse_args(options)
    if args.folders is not None:
        _redraw(parser, args)
        return
    register()
    for package in args.gym_packages:
        importlib.import_module(package)
    _check(parser, args)
    runs = _runs(args)
    missing = [run for run in runs if not run.is_finished()]
    comparison = Comparison(
        algos=args.algos,
        envs=args.env,
        commands=[shlex.join(["sb3-tdac", "compare", *options])],
        thresholds=dict(thresholds(args.threshold, args.env)),
        seeds={env: {algo: [*args.seeds] for algo in args.algos} for env in args.env},
        machines=[f"{platform.platform()}, {os.cpu_count()} CPUs"],
    )
    comparison.complete()
    comparison.write_record(args.out)  # so that --from can draw the finished runs at any time
    print(f"{len(runs) - len(missing)} of {len(runs)} runs are in {args.out}", flush=True)
    with sigterm_interrupts():
        failures = Pool(args.workers, args.gym_packages).train(missing)
    comparison.add(runs)
    if not comparison.evaluations.empty:
        _write(comparison, args.out)
    if failures:
        reasons = "; ".join(f"{run}: {why}" for run, why in failures)
        raise RuntimeError(f"{len(failures)} of {len(runs)} runs failed: {reasons}")


def _redraw(parser: argparse.ArgumentParser, args: argparse.Namespace) -> None:
    """Draw the runs of one folder or of several."""
    out = args.out or args.folders[0]
    if len(args.folders) > 1 and args.out is None:
        parser.error("--out is needed if --from names several folders")
    parts = [read(folder) for folder in args.folders]
    comparison = joined(parts, args.env, args.algos)
    comparison.thresholds |= thresholds(args.threshold, comparison.envs)
    _write(comparison, out)


def thresholds(words: list[str], envs: list[str]) -> dict[str, float]:
    """Parse the returns to reach.

    :param words: a number, or ``ENV=NUMBER`` for each environment
    :return: return to reach of each environment that is named
    :raises ValueError: if a word is no number, or names no environment
    """
    found = {}
    for word in words:
        env, _, number = word.rpartition("=")
        if not env and len(envs) == 1:
            (env,) = envs
        if env not in envs:
            raise ValueError(f"--threshold {word}: use ENV=NUMBER with ENV from {', '.join(envs)}")
        try:
            found[env] = float(number)
        except ValueError:
            raise ValueError(f"--threshold {word}: {number!r} is no number") from None
    return found


def _write(comparison: Comparison, folder: Path) -> None:
    """Write the evaluations, the pictures and the tables."""
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
    add(
        "--algos",
        nargs="+",
        help="rl_zoo3's names of algorithms; the others are compared with the first one. a2c has "
        "rl_zoo3's configuration (tdac: ours), a2c-defaults the constructor's defaults, "
        f"a2c-gae_lambda=0 another value of that key; default: {ALGO} a2c ppo",
    )
    add("--seeds", type=count, default=5, help="number of seeds; default: 5")
    add("--first-seed", type=int, default=0, help="the first of them; default: 0")
    add("-n", "--n-timesteps", type=count, help="environment steps of each run")
    add("--eval-freq", type=count, help="steps between evaluations; default: a tenth of all")
    add("--eval-episodes", type=count, default=20, help="episodes of an evaluation; default: 20")
    n_envs = "environments of each run; default: the configuration's; for ALGO-defaults 8, or 1 "
    add("--n-envs", type=count, help=n_envs + "if the algorithm is off-policy")
    goal = "return to reach: a number, or ENV=NUMBER for each environment; default: gymnasium's"
    add("--threshold", nargs="+", default=[], help=goal)
    add("--workers", type=count, default=os.cpu_count(), help="processes; default: all CPUs")
    add("--device", default="cpu", help="PyTorch device; default: cpu")
    add("--gym-packages", nargs="+", default=[], help="modules that register environments")
    add("--out", type=Path, help="folder; default: logs/compare/STEPS_steps")
    add(
        "--from",
        dest="folders",
        nargs="+",
        type=Path,
        help="only redraw the runs of this folder, or of several folders together in --out; --env "
        "and --algos choose a part of them",
    )
    return parser


def count(text: str) -> int:
    """Parse a number of at least 1."""
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"must be at least 1, got {number}")
    return number


def _check(parser: argparse.ArgumentParser, args: argparse.Namespace) -> None:
    """Check the options, and complete those that depend on others."""
    for option in ("env", "n_timesteps"):
        if getattr(args, option) is None:
            parser.error(f"--{option.replace('_', '-')} is needed, or --from")
    if args.first_seed < 0:
        parser.error(f"argument --first-seed: must be at least 0, got {args.first_seed}")
    args.seeds = range(args.first_seed, args.first_seed + args.seeds)
    args.eval_freq = args.eval_freq or max(1, args.n_timesteps // 10)
    args.algos = args.algos or [ALGO, "a2c", "ppo"]
    args.out = args.out or Path("logs") / "compare" / f"{args.n_timesteps}_steps"
    for env in args.env:
        if env not in gym.envs.registry:
            hint = did_you_mean(env, gym.envs.registry, "it is not registered")
            raise ValueError(f"unknown environment {env!r}: {hint}")
    for what, names in (("environment", args.env), ("algorithm", args.algos)):
        for name in names:
            if names.count(name) > 1:
                raise ValueError(f"{what} {name!r} is named twice")


def _runs(args: argparse.Namespace) -> list[Run]:
    """List all runs, seed by seed, so that an interrupted comparison has some of each contender."""
    settings: dict[tuple[str, str], Settings] = {}
    for contender in map(Contender.parse, args.algos):
        for env in args.env:
            origin, entry = contender.entry(env, args.n_envs, args.n_timesteps)
            settings[env, contender.name] = {
                "algo": contender.algo,
                "n_timesteps": args.n_timesteps,
                "eval_freq": args.eval_freq,
                "eval_episodes": args.eval_episodes,
                "device": args.device,
                "origin": origin,
                "entry": entry,
                "defaults": contender.constructor_defaults(entry),
            }
    return [
        Run(args.out, env, algo, seed, settings[env, algo])
        for seed in args.seeds
        for env in args.env
        for algo in args.algos
    ]
