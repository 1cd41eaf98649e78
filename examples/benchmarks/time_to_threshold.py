"""Measures seconds of wall time from the start of the command to a policy with a given return.

    python examples/benchmarks/time_to_threshold.py --seeds 5

Each run is a new process: imports, environments, training, and an evaluation on 20 episodes at
equal intervals. All of it counts until the mean return reaches the threshold; the end of the
interpreter does not. A2C, PPO and SAC have their configurations of rl_zoo3. TDAC has its defaults,
its ``LeanDummyVecEnv``, and a schedule that ends after 40 000 steps. Contenders take turns.
"""

import argparse
import os
import subprocess
import sys
import time
from typing import Any

ENV, THRESHOLD = "Pendulum-v1", -200.0
#: Maximum of environment steps, and steps between two evaluations.
LONGEST = {"TDAC": 40_000, "A2C": 1_000_000, "PPO": 100_000, "SAC": 20_000}
EVAL_FREQ = {"TDAC": 8_000, "A2C": 20_000, "PPO": 4_096, "SAC": 1_000}


def run(name: str, seed: int) -> None:
    """Train in this process, and print the steps, the best return and the time."""
    import torch
    from stable_baselines3.common.callbacks import EvalCallback, StopTrainingOnRewardThreshold
    from stable_baselines3.common.env_util import make_vec_env
    from stable_baselines3.common.vec_env import VecNormalize

    torch.set_num_threads(1)
    algorithm, vec_env_cls, n_envs, normalize, settings = contender(name)
    env = make_vec_env(ENV, n_envs, seed=seed, vec_env_cls=vec_env_cls)
    episodes = make_vec_env(ENV, 20, seed=10_000 + seed)
    if normalize:
        env = VecNormalize(env)
        episodes = VecNormalize(episodes, training=False, norm_reward=False)
    callback = EvalCallback(
        episodes,
        callback_on_new_best=StopTrainingOnRewardThreshold(THRESHOLD),
        n_eval_episodes=20,
        eval_freq=EVAL_FREQ[name] // n_envs,
        verbose=0,
    )
    model = algorithm("MlpPolicy", env, seed=seed, device="cpu", **settings)
    model.learn(LONGEST[name], callback=callback)
    print(model.num_timesteps, callback.best_mean_reward, time.time())


def contender(name: str) -> tuple[Any, Any, int, bool, dict[str, Any]]:
    """Class, class of the ``VecEnv``, number of environments, whether to normalize, arguments."""
    if name == "TDAC":
        from sb3_tdac import TDAC
        from sb3_tdac.vec_envs import LeanDummyVecEnv

        return TDAC, LeanDummyVecEnv, 8, False, {}
    if name == "A2C":
        from stable_baselines3 import A2C
        from stable_baselines3.common.utils import LinearSchedule

        settings = dict(ent_coef=0.0, max_grad_norm=0.5, n_steps=8, gae_lambda=0.9, vf_coef=0.4)
        settings |= dict(gamma=0.9, use_rms_prop=True, use_sde=True)
        settings |= dict(policy_kwargs=dict(log_std_init=-2, ortho_init=False))
        settings |= dict(normalize_advantage=False)
        return A2C, None, 8, True, settings | dict(learning_rate=LinearSchedule(7e-4, 0.0, 1.0))
    if name == "PPO":
        from stable_baselines3 import PPO

        settings = dict(n_steps=1024, gae_lambda=0.95, gamma=0.9, n_epochs=10, ent_coef=0.0)
        settings |= dict(learning_rate=1e-3, clip_range=0.2, use_sde=True, sde_sample_freq=4)
        return PPO, None, 4, False, settings
    from stable_baselines3 import SAC

    return SAC, None, 1, False, dict(learning_rate=1e-3)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--contenders", nargs="+", choices=LONGEST, default=list(LONGEST))
    parser.add_argument("--run", nargs=2, metavar=("NAME", "SEED"), help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.run:
        run(args.run[0], int(args.run[1]))
        return
    print("| algorithm | seed | seconds | steps | return |\n|---|---|---|---|---|")
    for seed in range(args.seeds):
        for name in args.contenders:
            command = [sys.executable, __file__, "--run", name, str(seed)]
            environment = os.environ | {"OMP_NUM_THREADS": "1"}
            start = time.time()
            done = subprocess.run(command, env=environment, check=True, stdout=subprocess.PIPE)
            steps, value, end = done.stdout.split()[-3:]
            seconds = float(end) - start
            missed = "" if float(value) >= THRESHOLD else ", never"
            row = f"| {name} | {seed} | {seconds:.1f}{missed} | {int(steps)} | {float(value):.1f} |"
            print(row, flush=True)


if __name__ == "__main__":
    main()
