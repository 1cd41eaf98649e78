"""Private names of ``TDAC`` that tests need where nothing public tells the same: only here."""

from typing import Any

from helpers.model_state import State, numbers

from sb3_tdac import TDAC


def uses_kernels(model: TDAC) -> bool:
    """Whether the last rollout and update were computed by compiled kernels."""
    return model._kernels is not None


def episodes_of(model: TDAC) -> State:
    """Where the running episodes are: observations, elapsed steps and discounted returns."""
    names = ("_last_obs", "_last_episode_starts", "_elapsed_steps", "_discounted_return")
    return numbers({name: vars(model)[name] for name in names})


def interrupt_after(model: TDAC, kernel: str) -> None:
    """Raise KeyboardInterrupt after this kernel, as Python does for a signal during it."""
    kernels = model._kernels
    assert kernels is not None
    library = kernels.library

    class Library:
        def __getattr__(self, name: str) -> Any:
            return getattr(library, name)

    def interrupted(*args: Any) -> None:
        getattr(library, kernel)(*args)
        raise KeyboardInterrupt

    kernels.library = Library()
    setattr(kernels.library, kernel, interrupted)
