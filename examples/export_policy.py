"""Trains, exports the deterministic policy, and runs it in a process without SB3.

    python examples/export_policy.py --out exported

Prints the largest difference between its actions and those of ``model.predict``.
"""

import argparse
import subprocess
import sys
from pathlib import Path

import numpy as np
import torch
from stable_baselines3.common.env_util import make_vec_env

from sb3_tdac import TDAC
from sb3_tdac.export import export_onnx, export_program


def observe(model: TDAC, n_steps: int) -> np.ndarray:
    """Observations while the model acts, (n_steps * n_envs, *observation shape)."""
    env = model.get_env()
    observations = [env.reset()]
    for _ in range(n_steps - 1):
        actions, _ = model.predict(observations[-1], deterministic=True)
        observations.append(env.step(actions)[0])
    return np.concatenate(observations)


def export(env_id: str, timesteps: int, folder: Path) -> np.ndarray:
    """Write ``ENV.pt2``, ``ENV.onnx`` and observations; return the actions of ``predict``."""
    model = TDAC("MlpPolicy", make_vec_env(env_id, 4, seed=0), seed=0, device="cpu")
    model.learn(timesteps)
    torch.export.save(export_program(model), folder / f"{env_id}.pt2")
    export_onnx(model, folder / f"{env_id}.onnx")
    observations = observe(model, n_steps=250)
    np.savez(folder / f"{env_id}.npz", observations=observations)
    return model.predict(observations, deterministic=True)[0]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--envs", nargs="+", default=["Pendulum-v1", "CartPole-v1"])
    parser.add_argument("--timesteps", type=int, default=50_000)
    parser.add_argument("--out", type=Path, default=Path("exported"))
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    expected = {env_id: export(env_id, args.timesteps, args.out) for env_id in args.envs}

    script = Path(__file__).with_name("run_policy.py")
    subprocess.run([sys.executable, str(script), str(args.out)], check=True)
    for env_id, actions in expected.items():
        for kind in ("pt2", "onnx"):
            difference = np.abs(np.load(args.out / f"{env_id}.{kind}.npy") - actions).max()
            print(f"{env_id}.{kind}: {len(actions)} actions, largest difference {difference:.1e}")
            assert difference < 1e-6


if __name__ == "__main__":
    main()
