"""Saved models of each kind, and edits of their files."""

import io
import json
import zipfile
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from gymnasium import spaces
from helpers.environments import steps_envs
from helpers.model_state import file_of

from sb3_tdac import TDAC, TEXTBOOK
from sb3_tdac.persistence.plain_model import SETTINGS

#: Files that earlier versions wrote.
DATA = Path(__file__).parents[1] / "data"
VECTOR, BOX = spaces.Box(-1.0, 1.0, (3,)), spaces.Box(-2.0, 2.0, (1,))
ASYMMETRIC = spaces.Box(np.float32([-1, 5]), np.float32([3, 5.1]))
IMAGE = spaces.Box(0, 255, (1, 36, 36), np.uint8)
RMSPROP = dict(
    net_arch=dict(pi=[8], vf=[8, 4]),
    activation_fn=torch.nn.ReLU,
    optimizer_class=torch.optim.SGD,
    optimizer_kwargs=dict(momentum=0.5),
    critic_optimizer_class=torch.optim.RMSprop,
    share_features_extractor=True,
)
CNN = dict(features_extractor_kwargs=dict(features_dim=16))
#: Policy, observation space, action space and options of each kind of model.
MODELS: dict[str, tuple[str, Any, Any, dict[str, Any]]] = {
    "defaults": ("MlpPolicy", VECTOR, BOX, {}),
    "textbook": ("MlpPolicy", VECTOR, ASYMMETRIC, TEXTBOOK),
    "discrete": ("MlpPolicy", spaces.Discrete(4), spaces.Discrete(3), dict(learning_rate=1e-3)),
    "multi-binary": (
        *("MlpPolicy", spaces.MultiDiscrete([2, 4]), spaces.MultiBinary(3)),
        dict(n_steps=3, gamma=0.5),
    ),
    "other optimizers": ("MlpPolicy", VECTOR, BOX, dict(policy_kwargs=RMSPROP)),
    "image": ("CnnPolicy", IMAGE, spaces.MultiDiscrete([2, 4]), dict(policy_kwargs=CNN)),
    "dict": ("MultiInputPolicy", spaces.Dict(vec=VECTOR, one=spaces.Discrete(4)), BOX, {}),
}


def environment_of(name: str) -> Any:
    _, observation_space, action_space, _ = MODELS[name]
    return steps_envs((1, 2), action_space, observation_space)


@cache
def saved(name: str = "defaults") -> bytes:
    """The file of a model after two updates, in which everything that can have a state has one."""
    policy, _, _, options = MODELS[name]
    settings = {"n_steps": 4, "seed": 1, "device": "cpu", **options}
    return file_of(TDAC(policy, environment_of(name), **settings).learn(16))


def with_entries(content: bytes, changes: dict[str, bytes | None], **options: Any) -> io.BytesIO:
    """The file with other entries; None: without this entry."""
    file = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(content)) as old, zipfile.ZipFile(file, "w", **options) as new:
        for name in old.namelist():
            entry = changes.get(name, old.read(name))
            if entry is not None:
                new.writestr(name, entry)
    return file


def entry(name: str, content: bytes | None = None) -> bytes:
    with zipfile.ZipFile(io.BytesIO(content or saved())) as archive:
        return archive.read(name)


def with_settings(content: bytes, **settings: Any) -> bytes:
    """The file with other settings in the entry that ``load`` reads without ``safe``."""
    data = json.dumps(json.loads(entry("data", content)) | settings, indent=4).encode()
    return with_entries(content, {"data": data}).getvalue()


def with_plain_settings(edit: Any) -> io.BytesIO:
    """The file ``saved()`` after ``edit`` changed the settings that ``safe=True`` reads."""
    settings = json.loads(entry(SETTINGS))
    edit(settings)
    return with_entries(saved(), {SETTINGS: json.dumps(settings).encode()})


def load_safely(content: bytes, **options: Any) -> TDAC:
    return TDAC.load(io.BytesIO(content), safe=True, device="cpu", **options)


def refused(file: io.BytesIO) -> str:
    """The message with which ``load(safe=True)`` refuses the file."""
    with pytest.raises(ValueError, match="path must be a model with plain settings") as error:
        load_safely(file.getvalue())
    return str(error.value)
