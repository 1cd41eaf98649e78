"""The normalisation of returns: which returns are scores 0 and 1.

``python -m sb3_tdac.zoo.compare.scores`` measures the random policy on all known environments.
"""

from typing import NamedTuple

import gymnasium as gym
import pandas as pd

from sb3_tdac.zoo.compare.runs import DETERMINISTIC, EVAL_SEED

RANDOM_EPISODES = 100
THRESHOLD = "gymnasium's reward threshold"
ZOO_PPO = "PPO in rl_zoo3's benchmark.md"


class Range(NamedTuple):
    """The returns that are scores 0 and 1, and the origin of score 1."""

    low: float
    high: float
    origin: str


#: Score 0: mean return of a random policy, measured by ``random_return`` with gymnasium 1.4.0.
#: Score 1: gymnasium's threshold, or a published return where it has none.
RANGES = {
    "Pendulum-v1": Range(-1223.888, -172.225, ZOO_PPO),
    "CartPole-v1": Range(22.83, 475.0, THRESHOLD),
    "Acrobot-v1": Range(-500.0, -100.0, THRESHOLD),
    "MountainCarContinuous-v0": Range(-33.117, 90.0, THRESHOLD),
    "LunarLanderContinuous-v3": Range(-235.459, 200.0, THRESHOLD),
    "InvertedPendulum-v5": Range(5.75, 950.0, THRESHOLD),
    "InvertedDoublePendulum-v5": Range(47.324, 9100.0, THRESHOLD),
    "Reacher-v5": Range(-42.708, -3.75, THRESHOLD),
    "Hopper-v5": Range(16.289, 3800.0, THRESHOLD),
    "HalfCheetah-v5": Range(-280.286, 4800.0, THRESHOLD),
    "Walker2d-v5": Range(1.016, 3478.798, f"{ZOO_PPO}, -v3"),
    "Swimmer-v5": Range(-0.646, 360.0, THRESHOLD),
    "BipedalWalker-v3": Range(-99.449, 300.0, THRESHOLD),
}


def random_return(env_id: str) -> float:
    """Measure the mean return of a policy that draws actions uniformly.

    :return: mean of ``RANDOM_EPISODES`` episodes
    """
    env = gym.make(env_id)
    env.action_space.seed(EVAL_SEED)
    total = 0.0
    for episode in range(RANDOM_EPISODES):
        env.reset(seed=EVAL_SEED + episode)
        over = False
        while not over:
            _, reward, terminated, truncated, _ = env.step(env.action_space.sample())
            total += float(reward)
            over = terminated or truncated
    env.close()
    return total / RANDOM_EPISODES


def normalisation(env: str, returns: pd.DataFrame, random: float) -> Range:
    """Choose the returns of an environment that are scores 0 and 1.

    :param random: mean return of a random policy
    :return: those in ``RANGES``, or the random policy's and the best evaluation's
    """
    if env in RANGES:
        return RANGES[env]
    chosen = returns[(returns.env == env) & (returns["mode"] == DETERMINISTIC)]["return"]
    if chosen.max() > random:
        return Range(random, float(chosen.max()), "best evaluation")
    if chosen.max() > chosen.min():
        origin = "best evaluation; score 0 is the worst: none is above the random policy"
        return Range(float(chosen.min()), float(chosen.max()), origin)
    return Range(float(chosen.max()) - 1, float(chosen.max()), "all evaluations are equal")


if __name__ == "__main__":
    for name in RANGES:
        print(f"{name}: {random_return(name):.3f}", flush=True)
