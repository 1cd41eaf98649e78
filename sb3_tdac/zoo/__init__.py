"""TDAC in rl_zoo3: train, sweep, enjoy, plot and compare it like rl_zoo3's own algorithms."""

import importlib.util

from sb3_tdac.zoo.hyperparams import convert_tdac_params, sample_tdac_params

#: The name under which rl_zoo3 knows TDAC.
ALGO = "tdac"

__all__ = ["ALGO", "convert_tdac_params", "register", "sample_tdac_params"]


def register() -> None:
    """Add TDAC to the algorithms of rl_zoo3; a second call changes nothing.

    Call this before a command of rl_zoo3 starts, which then reads its tables of algorithms.

    :raises ModuleNotFoundError: if rl_zoo3 is not installed
    """
    if importlib.util.find_spec("rl_zoo3") is None:
        raise ModuleNotFoundError(
            "rl_zoo3 is not installed: pip install 'sb3_tdac[zoo]'", name="rl_zoo3"
        )
    from rl_zoo3.hyperparams_opt import HYPERPARAMS_CONVERTER, HYPERPARAMS_SAMPLER
    from rl_zoo3.utils import ALGOS

    from sb3_tdac import TDAC

    ALGOS[ALGO] = TDAC
    HYPERPARAMS_SAMPLER[ALGO] = sample_tdac_params
    HYPERPARAMS_CONVERTER[ALGO] = convert_tdac_params
