"""States of the random generators in a model's file, so that a resumed training draws the same."""

import base64
import warnings
from collections.abc import Mapping

import numpy as np
import torch
from stable_baselines3.common.vec_env import VecNormalize


def capture(generator: torch.Generator, normalizer: VecNormalize | None) -> dict[str, str]:
    """Encode the states of the random generators of a model and of torch as text.

    Layers like dropout draw from torch's. The running returns of a ``VecNormalize`` are included,
    because its own file lacks them.

    :param generator: of the model
    :param normalizer: of the environments
    """
    states = dict(model=generator.get_state(), cpu=torch.get_rng_state())
    if normalizer is not None:
        states["returns"] = torch.from_numpy(normalizer.returns)
    if generator.device.type == "cuda":
        states["cuda"] = torch.cuda.get_rng_state(generator.device)
    return {
        name: base64.b64encode(state.numpy().tobytes()).decode() for name, state in states.items()
    }


def restore(
    saved: Mapping[str, str], generator: torch.Generator, normalizer: VecNormalize | None
) -> None:
    """Restore the states from a file; warn if they come from another kind of device.

    :param saved: what ``capture`` returned, or nothing
    :param generator: of the model
    :param normalizer: of the environments
    """
    states = {
        name: torch.from_numpy(np.frombuffer(base64.b64decode(state), np.uint8).copy())
        for name, state in saved.items()
    }
    ours = states.get("model")  # files of 0.1.0 have none
    if ours is not None and len(ours) == len(generator.get_state()):
        generator.set_state(ours)
    elif ours is not None:  # the state of a GPU's generator has no meaning on a CPU
        warnings.warn(
            f"the model was saved on a device of another kind than {generator.device}: training "
            "goes on with other random numbers than it would have had there",
            stacklevel=4,
        )
    if "cpu" in states:
        torch.set_rng_state(states["cpu"])
    if "cuda" in states and generator.device.type == "cuda":
        torch.cuda.set_rng_state(states["cuda"], generator.device)
    if "returns" in states and normalizer is not None:
        normalizer.returns = states["returns"].numpy().view(np.float64)
