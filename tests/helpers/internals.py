"""Private names of ``TDAC`` that tests need where nothing public tells the same: only here."""

from typing import Any

from helpers.model_state import State, numbers

from sb3_tdac import TDAC, fast


def uses_kernels(model: TDAC) -> bool:
    """Whether the last rollout and update were computed by compiled kernels."""
    return isinstance(model._learner, fast.KernelLearner)


def episodes_of(model: TDAC) -> State:
    """Where the running episodes are: observations, elapsed steps and discounted returns."""
    names = ("_last_obs", "_last_episode_starts", "_elapsed_steps", "_discounted_return")
    return numbers({name: vars(model)[name] for name in names})


def interrupt_after(model: TDAC, kernel: str) -> None:
    """Raise KeyboardInterrupt after this kernel, as Python does for a signal during it."""
    learner = model._learner
    assert isinstance(learner, fast.KernelLearner)
    functions = learner._functions

    class Functions:
        def __getattr__(self, name: str) -> Any:
            return getattr(functions, name)

    def interrupted(*args: Any) -> None:
        getattr(functions, kernel)(*args)
        raise KeyboardInterrupt

    learner._functions = Functions()
    setattr(learner._functions, kernel, interrupted)
