"""Trains TDAC, evaluates it before and after, saves and loads the model, and draws its curve.

python examples/quickstart.py --env Pendulum-v1 --timesteps 100000
"""

import argparse
import os
from pathlib import Path

import gymnasium as gym
import matplotlib
import numpy as np
import torch
from PIL import Image
from stable_baselines3.common.callbacks import EvalCallback
from stable_baselines3.common.env_util import make_vec_env
from stable_baselines3.common.evaluation import evaluate_policy
from stable_baselines3.common.vec_env import VecEnv

from sb3_tdac import TDAC

matplotlib.use("Agg")
import matplotlib.pyplot as plt


def mean_return(model: TDAC, env: VecEnv) -> str:
    mean, std = evaluate_policy(model, env, n_eval_episodes=20)
    return f"{mean:.1f} +- {std:.1f} (mean +- std of 20 episodes)"


def draw_curve(evaluations: Path, picture: Path, title: str) -> None:
    """Draw the return against steps from the file of EvalCallback."""
    with np.load(evaluations) as data:
        steps, returns = data["timesteps"], data["results"]
    figure, axes = plt.subplots(figsize=(6, 4), layout="constrained")
    axes.plot(steps, returns.mean(axis=1), label="mean")
    axes.fill_between(steps, returns.min(axis=1), returns.max(axis=1), alpha=0.2, label="range")
    axes.set(title=title, xlabel="environment steps", ylabel="return of 10 episodes")
    axes.legend(loc="lower right")
    figure.savefig(picture, dpi=120)
    plt.close(figure)


def animate(model: TDAC, env_id: str, picture: Path, max_steps: int = 200) -> None:
    """Draw one episode of the trained policy as a GIF."""
    os.environ.setdefault("SDL_VIDEODRIVER", "dummy")  # pygame draws without a screen
    env = gym.make(env_id, render_mode="rgb_array")
    obs, _ = env.reset(seed=0)
    frames = []
    for _ in range(max_steps):
        action, _ = model.predict(obs, deterministic=True)
        obs, _, terminated, truncated, _ = env.step(action)
        frames.append(Image.fromarray(env.render()).resize((250, 250)))
        if terminated or truncated:
            break
    env.close()
    frames[0].save(picture, save_all=True, append_images=frames[1::2], duration=66, loop=0)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--env", default="Pendulum-v1")
    parser.add_argument("--timesteps", type=int, default=100_000)
    parser.add_argument("--n-envs", type=int, default=8)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=Path("logs"))
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    torch.set_num_threads(1)  # a second thread makes small networks slower

    model = TDAC("MlpPolicy", make_vec_env(args.env, args.n_envs, seed=args.seed), seed=args.seed)
    eval_env = make_vec_env(args.env, 10, seed=args.seed + 1000)
    print(f"return before training: {mean_return(model, eval_env)}")
    callback = EvalCallback(
        eval_env,
        eval_freq=max(1, args.timesteps // args.n_envs // 20),  # 20 points of the curve
        n_eval_episodes=10,
        log_path=str(args.out),
        verbose=0,
    )
    model.learn(args.timesteps, callback=callback, progress_bar=True)
    model.save(args.out / "model")

    model = TDAC.load(args.out / "model")
    print(f"return after training:  {mean_return(model, eval_env)}")
    draw_curve(args.out / "evaluations.npz", args.out / "curve.png", f"TDAC on {args.env}")
    animate(model, args.env, args.out / "animation.gif")
    print(f"wrote model.zip, curve.png and animation.gif to {args.out}")


if __name__ == "__main__":
    main()
