"""Shows where the time of a vectorised step goes, by samples of the stack.

The kernel interrupts the process at equal intervals of its CPU time. Unlike ``cProfile``, this does
not make Python's calls slower than the rest, so the parts add up to the time that is measured
without it. A sample counts for the Python call in which it falls.
"""

import signal
from collections import Counter
from types import FrameType

import pandas as pd
from speed_contenders import EQUAL_WORK, Contender, Setting, build
from speed_measure import cpu_seconds, warm_up

#: File, function ("": all of the file) and part. The innermost frame with a rule decides.
RULES = [
    ("common/monitor.py", "", "environment, Monitor"),
    ("vec_env", "", "VecEnv"),
    ("common/callbacks.py", "", "callbacks"),
    ("sb3_tdac/diagnostics/", "", "checks"),
    ("sb3_tdac/transitions.py", "", "buffer"),
    ("common/buffers.py", "", "buffer"),
    ("sb3_tdac/normalization.py", "", "normalization"),
    ("", "normalize_rewards", "normalization"),
    ("torch/optim/", "", "optimizers"),
    ("utils/clip_grad.py", "", "gradient clipping"),
    ("sb3_tdac/fast/network.py", "step", "optimizers"),  # with the clipping
    ("sb3_tdac/fast/anchors.py", "", "fast path: are networks and optimizers the same"),
    ("", "_set_advantage", "critic: value and target"),
    ("", "_set_actor_gradient", "actor: forward, gradient"),
    ("sb3_tdac/fast/", "update", "critic: gradient"),
    ("", "_set_states", "normalization"),
    ("", "backward", "backward, both networks"),
    ("", "_value_and_target", "critic: value and target"),
    ("", "predict_values", "critic: value and target"),
    ("", "critic_loss", "critic: loss"),
    ("", "_update_info_buffer", "episode statistics, log"),
    ("", "dump_logs", "episode statistics, log"),
    ("", "collect_rollouts", "action: forward, sampling, loop"),
    ("", "train", "actor: forward, loss; rest of train()"),
]
INTERVAL = 1e-3


def part_of(frame: FrameType | None) -> str:
    """The part to which a stack belongs.

    :param frame: the innermost frame
    """
    while frame is not None:
        path, function = frame.f_code.co_filename, frame.f_code.co_name
        for file, name, part in RULES:
            if file in path and name in ("", function):
                return part
        frame = frame.f_back
    return "rest of learn()"


def sample(contender: Contender, steps: int) -> Counter[str]:
    """Nanoseconds of CPU time by part.

    :param contender: what to run
    :param steps: vectorised steps
    """
    samples: Counter[str] = Counter()
    before = signal.signal(signal.SIGPROF, lambda _, frame: samples.update([part_of(frame)]))
    signal.setitimer(signal.ITIMER_PROF, INTERVAL, INTERVAL)
    try:
        spent = cpu_seconds(contender, steps)
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0.0)
        signal.signal(signal.SIGPROF, before)
    weight = 1e9 * spent / max(1, samples.total())
    return Counter({part: round(weight * count) for part, count in samples.items()})


def measure_profile(setting: Setting, rounds: int, seconds: float) -> pd.DataFrame:
    """Microseconds of each part for A2C and TDAC's two paths, largest part of the fast path first.

    :return: a row for each part, a column for each contender
    """
    contenders = build(setting, EQUAL_WORK)
    turns = {name: warm_up(contender, seconds) for name, contender in contenders.items()}
    spent = {name: Counter[str]() for name in contenders}
    for _ in range(rounds):
        for name, contender in contenders.items():
            spent[name] += sample(contender, turns[name])
    steps = pd.Series(turns) * rounds
    table = pd.DataFrame({name: pd.Series(parts) for name, parts in spent.items()}) / (1e3 * steps)
    table = table.fillna(0.0).sort_values("TDAC fast, equal work", ascending=False)
    table.loc["sum"] = table.sum()
    return table.round(1).rename_axis("us of a vectorised step")
