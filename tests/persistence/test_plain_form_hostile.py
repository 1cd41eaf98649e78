"""``load(safe=True)`` runs nothing that a file brings, and refuses what was made to do harm."""

import base64
import io
import json
import math
import pickle
import random
import subprocess
import sys
import traceback
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch
from helpers.saved_models import (
    entry,
    load_safely,
    refused,
    saved,
    with_entries,
    with_plain_settings,
)

from sb3_tdac import TDAC
from sb3_tdac.persistence.plain_model import SETTINGS, WEIGHTS


class Trap:
    """Unpickled, it makes a file."""

    def __init__(self, path: Path):
        self.path = path

    def __reduce__(self) -> Any:
        return Path.touch, (self.path,)


SANDBOX = """
import sys, torch
from sb3_tdac import TDAC
good, bad = sys.argv[1:]
TDAC.load(good, safe=True).predict([0.5, 0.0, 1.0])  # whatever Python and torch import lazily
def forbid(event, arguments):
    writes = event == "open" and isinstance(arguments[1], str) and set(arguments[1]) & set("wax+")
    if writes or event.startswith(("pickle.", "exec", "compile", "import", "subprocess.", "os.")):
        sys.stderr.write(f"{event} {arguments}")
        raise SystemExit(3)
sys.addaudithook(forbid)
print(TDAC.load(bad, safe=True).predict([0.5, 0.0, 1.0], deterministic=True)[0])
sys.stdout.flush()
TDAC.load(bad)
"""


def test_no_code_of_the_file_runs(tmp_path: Path) -> None:
    """With traps in all entries that SB3 unpickles; without ``safe`` the first one snaps."""
    sprung = tmp_path / "sprung"
    trap = pickle.dumps(Trap(sprung))
    data = json.loads(entry("data"))
    data["policy_class"][":serialized:"] = base64.b64encode(trap).decode()
    names = zipfile.ZipFile(io.BytesIO(saved())).namelist()
    changes = {name: trap for name in names if name.endswith(".pth")}
    file = with_entries(saved(), changes | {"data": json.dumps(data).encode()})
    (tmp_path / "good.zip").write_bytes(saved())
    (tmp_path / "bad.zip").write_bytes(file.getvalue())
    command = [sys.executable, "-c", SANDBOX, tmp_path / "good.zip", tmp_path / "bad.zip"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.stdout.startswith("["), done.stderr  # what the safely loaded model predicts
    assert (done.returncode, done.stderr[:17]) == (3, "pickle.find_class")
    assert not sprung.exists()
    with pytest.raises(Exception):  # noqa: B017  # whatever the trap's None leads to
        TDAC.load(file)
    assert sprung.exists()


def test_a_path_that_the_file_names_is_not_written_to() -> None:
    model, file = TDAC("MlpPolicy", "Pendulum-v1", tensorboard_log="/somewhere"), io.BytesIO()
    model.save(file)
    assert load_safely(file.getvalue()).tensorboard_log is None
    settings = json.loads(entry(SETTINGS))
    for name in ("tensorboard_log", "device", "env", "_init_setup_model", "use_sde"):
        settings["arguments"][name] = "x"
        assert name in refused(with_entries(saved(), {SETTINGS: json.dumps(settings).encode()}))
        del settings["arguments"][name]


HOSTILE_SETTINGS: dict[str, Callable[[dict[str, Any]], Any]] = {
    "one that the weights do not fit": lambda s: s["arguments"].update(
        policy_kwargs={"dict": {"net_arch": [32, 32]}}
    ),
    "a class outside of the list": lambda s: s["arguments"].update(
        policy_kwargs={"dict": {"activation_fn": {"class": "os.system"}}}
    ),
    "text for a class": lambda s: s["arguments"].update(
        policy_kwargs={"dict": {"activation_fn": "torch.nn.ReLU"}}
    ),
    "an action for each atom": lambda s: s.update(action_space={"Discrete": {"n": 10**15}}),
    "a huge observation": lambda s: s["observation_space"]["Box"].update(shape=[10**6, 10**6]),
    "objects as numbers": lambda s: s["observation_space"]["Box"].update(dtype="object"),
    "text as numbers": lambda s: s["observation_space"]["Box"].update(dtype="U1000"),
    "a rollout larger than memory": lambda s: s["arguments"].update(n_steps=10**15),
    "a gamma of NaN": lambda s: s["arguments"].update(gamma=math.nan),
    "a gamma of 2": lambda s: s["arguments"].update(gamma=2),
    "a huge integer": lambda s: s["arguments"].update(gamma=10**40),
    "no counters": lambda s: s.pop("counters"),
    "negative steps": lambda s: s["counters"].update(num_timesteps=-1),
    "a learning rate of NaN": lambda s: s.update(learning_rates=["nan", 0.0]),
    "another policy": lambda s: s.update(policy="CnnPolicy"),
    "a class as a policy": lambda s: s.update(policy={"class": "torch.nn.ReLU"}),
    "a newer form": lambda s: s.update(format=2),
}


@pytest.mark.parametrize("edit", HOSTILE_SETTINGS.values(), ids=HOSTILE_SETTINGS)
def test_hostile_settings_are_refused(edit: Callable[[Any], Any]) -> None:
    refused(with_plain_settings(edit))


def test_a_network_is_not_built_larger_than_the_weights_of_the_file() -> None:
    wide = {"dict": {"net_arch": [60_000, 60_000]}}  # 14 GB of weights
    file = with_plain_settings(lambda settings: settings["arguments"].update(policy_kwargs=wide))
    assert "ask for more weights than it has" in refused(file)


@pytest.mark.filterwarnings("ignore:Initializing zero-element")
def test_no_more_layers_are_built_than_the_file_has_tensors(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Layers of width 0 have no weights, but twenty thousand of them took 20 s."""
    built, init = [], torch.nn.Linear.__init__

    def counted(self: torch.nn.Linear, *args: Any, **kwargs: Any) -> None:
        built.append(self)
        init(self, *args, **kwargs)

    monkeypatch.setattr(torch.nn.Linear, "__init__", counted)
    many = {"dict": {"net_arch": [0] * 20_000}}
    file = with_plain_settings(lambda settings: settings["arguments"].update(policy_kwargs=many))
    assert "ask for more weights than it has" in refused(file)
    assert len(built) <= len(safetensors.torch.load(entry(WEIGHTS)))


def test_a_text_as_large_as_memory_is_refused_unread() -> None:
    """Each number of a ``Box`` would be one."""
    file = with_plain_settings(
        lambda settings: settings["observation_space"]["Box"].update(dtype="S200000000")
    )
    assert "S200000000 is no type of numbers" in refused(file)


@pytest.mark.parametrize("key", ["\x1b[2J", "\ud800", "x" * 10**5], ids=["escape", "half", "long"])
def test_what_the_error_quotes_is_short_and_printable(key: str) -> None:
    """A terminal obeys what follows ESC."""
    file = with_plain_settings(lambda s: s["arguments"].update(policy_kwargs={"dict": {key: 1}}))
    with pytest.raises(ValueError) as error:
        load_safely(file.getvalue())
    text = "".join(traceback.format_exception(error.value))
    assert "unexpected keyword argument" in text
    assert text.replace("\n", "").isprintable() and len(str(error.value)) < 2500


@pytest.mark.parametrize("text", [b"", b"[]", b"{", b"[" * 10**5, b'{"format": 1}', b"\xff", b"1"])
def test_hostile_json_is_refused(text: bytes) -> None:
    refused(with_entries(saved(), {SETTINGS: text}))


def test_each_setting_of_the_wrong_kind_is_refused_or_harmless() -> None:
    """No other exception, whatever stands in the place of whatever."""
    settings = json.loads(entry(SETTINGS))
    generator, tried = random.Random(0), 0
    places = [(settings, key) for key in settings]
    for owner, key in places:
        if isinstance(owner[key], dict):
            places += [(owner[key], inner) for inner in owner[key]]
        before = owner[key]
        for value in generator.sample([None, -1, 10**17, "x", [], {}, [[0.5]], True, 1e308], 4):
            owner[key] = value
            text = json.dumps(settings).encode()
            try:
                load_safely(with_entries(saved(), {SETTINGS: text}).getvalue())
            except ValueError as error:
                assert "path must be a model with plain settings" in str(error)
            tried += 1
        owner[key] = before
    assert tried > 150


HOSTILE_TENSORS: dict[str, Callable[[dict[str, Any]], Any]] = {
    "NaN": lambda t: t["policy/value_net.bias"].fill_(math.nan),
    "infinity": lambda t: t["policy.optimizer/0.exp_avg"].fill_(math.inf),
    "a negative variance": lambda t: t["return_stats/var"].fill_(-1),
    "a negative mean of squares": lambda t: t["policy.optimizer/0.exp_avg_sq"].fill_(-1),
    "a weight above one": lambda t: t["advantage_stats/weight"].fill_(2),
    "another shape": lambda t: t.update({"policy/value_net.bias": torch.zeros(2)}),
    "another type": lambda t: t.update({"policy/value_net.bias": torch.zeros(1).long()}),
    "a path for a name": lambda t: t.update({"../../etc/passwd": torch.zeros(1)}),
    "no tensor": lambda t: t.pop("policy/value_net.bias"),
    "half of an optimizer's state": lambda t: t.pop("policy.optimizer/0.exp_avg"),
    "too many parameters": lambda t: t.update({"policy.optimizer/99.exp_avg": torch.zeros(1)}),
}


@pytest.mark.parametrize("edit", HOSTILE_TENSORS.values(), ids=HOSTILE_TENSORS)
def test_hostile_tensors_are_refused(edit: Callable[[Any], Any]) -> None:
    tensors = {k: v.clone() for k, v in safetensors.torch.load(entry(WEIGHTS)).items()}
    edit(tensors)
    refused(with_entries(saved(), {WEIGHTS: safetensors.torch.save(tensors)}))


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\xff" * 8,
        (2**62).to_bytes(8, "little") + b"{}",
        (120).to_bytes(8, "little")
        + b'{"a":{"dtype":"F32","shape":[4611686018427387904,4],"data_offsets":[0,0]}}'.ljust(120),
    ],
    ids=["empty", "no header", "a header larger than the file", "a size that overflows"],
)
def test_hostile_weights_are_refused(content: bytes) -> None:
    refused(with_entries(saved(), {WEIGHTS: content}))


def test_compressed_entries_are_refused_before_they_are_unpacked() -> None:
    bomb = b" " * 10**8 + b"{}"
    reason = refused(
        with_entries(saved(), {SETTINGS: bomb}, compression=zipfile.ZIP_DEFLATED, compresslevel=1)
    )
    assert f"{SETTINGS} is compressed" in reason
