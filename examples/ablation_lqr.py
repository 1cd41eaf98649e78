"""What each departure from the text is worth on the double integrator: one change at a time.

python examples/ablation_lqr.py --seeds 5
"""

import argparse
import functools
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from lqr import SYSTEMS, LQREnv, cost_ratio
from stable_baselines3.common.env_util import make_vec_env
from tqdm import tqdm

from sb3_tdac import TDAC, TEXTBOOK

SYSTEM = "double-integrator"
RMSPROP = dict(policy_kwargs=dict(optimizer_class=torch.optim.RMSprop))
CHANGES: dict[str, dict[str, Any]] = {
    "defaults": {},
    "actor_warmup=0": dict(actor_warmup=0.0),
    "scale_advantage=False, ent_coef=lin_0.03": dict(scale_advantage=False, ent_coef="lin_0.03"),
    "normalize_reward=False": dict(normalize_reward=False),
    "normalize_observation=False": dict(normalize_observation=False),
    "constant learning rates": dict(learning_rate=2e-3, critic_learning_rate=5e-3),
    "constant ent_coef": dict(ent_coef=0.3),
    "critic_steps=1": dict(critic_steps=1),
    "max_grad_norm=0.5": dict(max_grad_norm=0.5),
    "gamma=0.99": dict(gamma=0.99),
    "RMSprop": RMSPROP,
    "TEXTBOOK, 1e-4, 1e-3": TEXTBOOK | dict(learning_rate=1e-4, critic_learning_rate=1e-3),
}


def run(change: str, seed: int, timesteps: int) -> dict[str, Any]:
    """Train with one change, and give the cost over the Riccati optimum's."""
    make_env = functools.partial(LQREnv, **SYSTEMS[SYSTEM])
    model = TDAC("MlpPolicy", make_vec_env(make_env, 8), seed=seed, **CHANGES[change])
    try:
        ratio = cost_ratio(model.learn(timesteps), make_env(), model.gamma)
    except ValueError:  # a number that is not finite
        ratio = float("inf")
    return {"change": change, "seed": seed, "ratio": ratio}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--timesteps", type=int, default=100_000)
    parser.add_argument("--out", type=Path, default=Path("logs/ablation_lqr.csv"))
    args = parser.parse_args()
    torch.set_num_threads(1)
    runs = [(change, seed) for seed in range(args.seeds) for change in CHANGES]
    rows = pd.DataFrame([run(*one, args.timesteps) for one in tqdm(runs, unit="run")])
    args.out.parent.mkdir(parents=True, exist_ok=True)
    rows.to_csv(args.out, index=False)
    print(rows.groupby("change", sort=False)["ratio"].agg(["min", "median", "max"]).round(3))


if __name__ == "__main__":
    main()
