"""A random generator for each model: torch's global one is shared by all threads of a process."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from stable_baselines3.common.on_policy_algorithm import OnPolicyAlgorithm

#: Held while a model is seeded and built, which draws from torch's global generator.
SEEDING = threading.RLock()


class SeededAlgorithm(OnPolicyAlgorithm):
    """SB3's on-policy algorithm, whose training draws from a generator of its own."""

    #: What training draws actions from.
    generator: torch.Generator

    def set_random_seed(self, seed: int | None = None) -> None:
        """Seed the global generators, the environment, and the generator of this model.

        :param seed: seed; ``None``: seed nothing
        """
        if seed is not None:
            with self._seeded(seed):
                pass

    @contextmanager
    def _seeded(self, seed: int | None) -> Iterator[None]:
        """Seed all that SB3 seeds, draw in the body what A2C draws, then leave torch's generator.

        Models may be built in threads: what they draw from the global generator stays together.
        """
        with SEEDING:
            super().set_random_seed(seed)
            yield
            self._take_generator()

    def _take_generator(self) -> None:
        """Draw from here on what torch's global generator would have given: what A2C draws.

        The global one then starts elsewhere: an environment that draws from it must not see the
        noise of the actions.
        """
        self.generator, state = torch.Generator(self.device), torch.get_rng_state()
        elsewhere = int(torch.empty((), dtype=torch.int64).random_())
        if self.device.type == "cpu":
            self.generator.set_state(state)
            torch.default_generator.manual_seed(elsewhere)
        else:
            self.generator.manual_seed(elsewhere)
