"""``HeldPendulum-v0`` waits in each step while the current folder has a file ``hold``.

A test of processes makes the file, and removes it when it has seen a process train.
"""

import time
from pathlib import Path
from typing import Any

import gymnasium as gym
from gymnasium.envs.classic_control import PendulumEnv

HELD_ENV, HOLD = "HeldPendulum-v0", Path("hold")


class HeldPendulum(PendulumEnv):
    def step(self, action: Any) -> Any:
        while HOLD.exists():
            time.sleep(0.02)
        return super().step(action)


gym.register(HELD_ENV, entry_point=HeldPendulum, max_episode_steps=20)
