"""Gymnasium's native CartPole, reset in the step that ends an episode."""

from typing import Any

import numpy as np
from gymnasium.envs.classic_control.cartpole import CartPoleVectorEnv
from gymnasium.vector import AutoresetMode
from numpy.typing import NDArray


class SameStepCartPole(CartPoleVectorEnv):
    """Gymnasium's vectorised CartPole, reset in the step that ends an episode, not in the next.

    It takes the arguments of ``CartPoleVectorEnv``.
    """

    metadata = CartPoleVectorEnv.metadata | {"autoreset_mode": AutoresetMode.SAME_STEP}

    def step(
        self, action: NDArray[np.integer[Any]]
    ) -> tuple[
        NDArray[np.float32],
        NDArray[np.float32],
        NDArray[np.bool_],
        NDArray[np.bool_],
        dict[str, Any],
    ]:
        """Step all environments, and reset each at the end of its episode."""
        obs, reward, terminated, truncated, infos = super().step(action)
        done = self.prev_done
        if done.any():
            last = np.full(self.num_envs, None, dtype=object)
            for i in np.flatnonzero(done):
                last[i] = obs[i].copy()
            first = self.np_random.uniform(self.low, self.high, size=(4, done.sum()))
            assert self.state is not None
            self.state[:, done] = first
            self.steps[done] = 0
            self.prev_done = np.zeros_like(done)
            obs[done] = first.T
            infos = {"final_obs": last, "_final_obs": done}
        return obs, reward, terminated, truncated, infos


EXACT_ENTRY_POINTS: dict[object, Any] = {
    "gymnasium.envs.classic_control.cartpole:CartPoleVectorEnv": SameStepCartPole
}
