"""Gymnasium's native CartPole, reset in the step that ends an episode."""

import numpy as np
from gymnasium.envs.classic_control.cartpole import CartPoleVectorEnv
from gymnasium.vector import AutoresetMode

from sb3_tdac.vec_envs.copies import Array, Flags, Info

#: Entry points of gymnasium's environment, and of the class here.
CARTPOLE = "gymnasium.envs.classic_control.cartpole:CartPoleVectorEnv"
SAME_STEP_CARTPOLE = "sb3_tdac.vec_envs.cartpole:SameStepCartPole"


class SameStepCartPole(CartPoleVectorEnv):
    """Gymnasium's vectorised CartPole, reset in the step that ends an episode, not in the next.

    It takes the arguments of ``CartPoleVectorEnv``.
    """

    metadata = CartPoleVectorEnv.metadata | {"autoreset_mode": AutoresetMode.SAME_STEP}

    def step(self, action: Array) -> tuple[Array, Array, Flags, Flags, Info]:
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
