"""``load(safe=True)`` gives the model that ``load`` gives, runs nothing, and refuses the rest."""

import base64
import io
import json
import math
import pickle
import random
import signal
import subprocess
import sys
import traceback
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.torch
import torch
from gymnasium import spaces
from helpers.path_pairs import assert_identical, state
from stable_baselines3.common.env_util import make_vec_env
from stable_baselines3.common.sb2_compat.rmsprop_tf_like import RMSpropTFLike
from stable_baselines3.common.torch_layers import FlattenExtractor
from test_conformance_spaces import IMAGE, VECTOR, SpaceEnv

from sb3_tdac import TDAC, TEXTBOOK, __version__
from sb3_tdac.persistence.plain_entries import SETTINGS, WEIGHTS
from sb3_tdac.persistence.plain_values import decode_space, encode_space
from sb3_tdac.policies import TDACPolicy

BOX, BINARY = spaces.Box(-2.0, 2.0, (1,)), spaces.MultiBinary(3)
ASYMMETRIC = spaces.Box(np.float32([-1, 5]), np.float32([3, 5.1]))
RMSPROP = dict(
    net_arch=dict(pi=[8], vf=[8, 4]),
    activation_fn=torch.nn.ReLU,
    optimizer_class=torch.optim.SGD,
    optimizer_kwargs=dict(momentum=0.5),
    critic_optimizer_class=torch.optim.RMSprop,
    share_features_extractor=True,
)
CNN = dict(features_extractor_kwargs=dict(features_dim=16))
MODELS: dict[str, tuple[str, Any, Any, dict[str, Any]]] = {
    "defaults": ("MlpPolicy", VECTOR, BOX, {}),
    "textbook": ("MlpPolicy", VECTOR, ASYMMETRIC, TEXTBOOK),
    "discrete": ("MlpPolicy", spaces.Discrete(4), spaces.Discrete(3), dict(learning_rate=1e-3)),
    "multi-binary": ("MlpPolicy", spaces.MultiDiscrete([2, 4]), BINARY, dict(n_steps=3, gamma=0.5)),
    "other optimizers": ("MlpPolicy", VECTOR, BOX, dict(policy_kwargs=RMSPROP)),
    "image": ("CnnPolicy", IMAGE, spaces.MultiDiscrete([2, 4]), dict(policy_kwargs=CNN)),
    "dict": ("MultiInputPolicy", spaces.Dict(vec=VECTOR, one=spaces.Discrete(4)), BOX, {}),
}


def environment(observation_space: Any, action_space: Any) -> Any:
    return make_vec_env(lambda: SpaceEnv(observation_space, action_space), 2, seed=0)


@cache
def saved(name: str = "defaults") -> bytes:
    """A model after two updates, with which everything that has a state has one."""
    policy, observation_space, action_space, options = MODELS[name]
    env, file = environment(observation_space, action_space), io.BytesIO()
    model = TDAC(policy, env, seed=1, device="cpu", **{"n_steps": 4, **options})
    model.learn(16).save(file)
    return file.getvalue()


def with_entries(content: bytes, changes: dict[str, bytes | None], **options: Any) -> io.BytesIO:
    """The file with other entries, or without some."""
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


def load_safely(content: bytes, **options: Any) -> TDAC:
    return TDAC.load(io.BytesIO(content), safe=True, device="cpu", **options)


def refused(file: io.BytesIO) -> str:
    with pytest.raises(ValueError, match="path must be a model with plain settings") as error:
        load_safely(file.getvalue())
    return str(error.value)


@pytest.mark.parametrize("name", MODELS)
def test_the_model_is_the_one_that_load_gives_and_learns_the_same(name: str) -> None:
    _, observation_space, action_space, options = MODELS[name]
    observations = environment(observation_space, action_space).reset()
    models = [
        loader(io.BytesIO(saved(name)), env=environment(observation_space, action_space))
        for loader in (TDAC.load, lambda *args, **kwargs: TDAC.load(*args, safe=True, **kwargs))
    ]
    one, other = models
    assert other.policy_kwargs == options.get("policy_kwargs", {})  # SB3 makes lists of tuples
    not_kept = {"self", "env", "policy", "policy_kwargs", "_init_setup_model"}
    for attribute in one.constructor_arguments() - not_kept:
        attribute = {"stats_window_size": "_stats_window_size"}.get(attribute, attribute)
        assert getattr(one, attribute) == getattr(other, attribute), attribute
    for _ in range(2):
        assert_identical(state(one), state(other))
        assert (one.num_timesteps, one._n_updates) == (other.num_timesteps, other._n_updates)
        actions = [model.predict(observations, deterministic=True)[0] for model in models]
        np.testing.assert_array_equal(*actions)
        for model in models:
            model.learn(16, reset_num_timesteps=False)
    assert (
        one.policy.optimizer.param_groups[0]["lr"] == other.policy.optimizer.param_groups[0]["lr"]
    )


def test_an_untrained_model_without_an_environment_predicts() -> None:
    model, file = TDAC("MlpPolicy", "Pendulum-v1", seed=0), io.BytesIO()
    model.save(file)
    loaded, obs = load_safely(file.getvalue()), np.float32([1.0, 0.0, 0.5])
    assert not loaded.policy.optimizer.state
    np.testing.assert_array_equal(*(m.predict(obs, deterministic=True)[0] for m in (model, loaded)))


def test_arguments_of_the_constructor_can_be_changed(tmp_path: Path) -> None:
    model = load_safely(saved(), gamma=0.5, tensorboard_log=str(tmp_path))
    assert (model.gamma, model.tensorboard_log) == (0.5, str(tmp_path))
    with pytest.raises(TypeError, match="vf_coef"):
        load_safely(saved(), vf_coef=0.5)


@pytest.mark.parametrize(
    "option", [dict(custom_objects={}), dict(print_system_info=True), dict(force_reset=False)]
)
def test_an_option_without_a_meaning_is_refused(option: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="have no meaning"):
        load_safely(saved(), **option)


def test_another_environment_is_refused() -> None:
    with pytest.raises(ValueError, match="Observation spaces do not match"):
        load_safely(saved(), env=make_vec_env("Pendulum-v1"))


def test_a_path_that_the_file_names_is_not_written_to() -> None:
    model, file = TDAC("MlpPolicy", "Pendulum-v1", tensorboard_log="/somewhere"), io.BytesIO()
    model.save(file)
    assert load_safely(file.getvalue()).tensorboard_log is None
    settings = json.loads(entry(SETTINGS))
    for name in ("tensorboard_log", "device", "env", "_init_setup_model", "use_sde"):
        settings["arguments"][name] = "x"
        assert name in refused(with_entries(saved(), {SETTINGS: json.dumps(settings).encode()}))
        del settings["arguments"][name]


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


class OwnPolicy(TDACPolicy):
    pass


class OwnExtractor(FlattenExtractor):
    pass


def half(progress: float) -> float:
    return 0.5 * progress


@pytest.mark.parametrize(
    ("named", "options"),
    [
        ("OwnPolicy", dict(policy=OwnPolicy)),
        ("learning_rate is <function half", dict(learning_rate=half)),
        ("RMSpropTFLike", dict(policy_kwargs=dict(optimizer_class=RMSpropTFLike))),
        (
            "features_extractor_class",
            dict(policy_kwargs=dict(features_extractor_class=OwnExtractor)),
        ),
    ],
)
def test_what_is_not_plain_is_named_and_loads_without_safe(
    named: str, options: dict[str, Any]
) -> None:
    model, file = TDAC(**{"policy": "MlpPolicy", "env": "Pendulum-v1", **options}), io.BytesIO()
    model.learn(1).save(file)
    assert named in refused(file) and "load it without safe=True" in refused(file)
    assert_identical(state(TDAC.load(file)), state(model))


class OwnArgument(TDAC):
    def __init__(self, *args: Any, own: int = 0, **kwargs: Any):
        super().__init__(*args, **kwargs)


def test_a_subclass_with_an_argument_that_it_does_not_keep_can_be_saved() -> None:
    model, file = OwnArgument("MlpPolicy", "Pendulum-v1"), io.BytesIO()
    model.save(file)
    assert "no attribute 'own'" in refused(file)
    assert_identical(state(OwnArgument.load(file)), state(model))


def test_an_optimizer_that_was_changed_is_named() -> None:
    model, file = load_safely(saved()), io.BytesIO()
    model.policy.optimizer.param_groups[0]["eps"] = 0.5
    model.save(file)
    assert "'eps'" in refused(file)


def test_a_file_of_an_earlier_version_says_what_to_do() -> None:
    file = with_entries(saved(), {SETTINGS: None, WEIGHTS: None})
    assert "load it without safe=True and save it again" in refused(file)
    again = io.BytesIO()
    TDAC.load(file, device="cpu").save(again)
    assert_identical(state(load_safely(again.getvalue())), state(load_safely(saved())))


def test_sb3_unpickles_no_entry_of_the_plain_form() -> None:
    assert not SETTINGS.endswith(".pth") and not WEIGHTS.endswith(".pth")
    damaged = with_entries(saved(), {SETTINGS: b"\0", WEIGHTS: b"\0"})
    assert_identical(state(TDAC.load(damaged, device="cpu")), state(load_safely(saved())))


@pytest.mark.parametrize(
    "space",
    [
        IMAGE,
        ASYMMETRIC,
        spaces.Box(-np.inf, np.inf, (2, 3), np.float64),
        spaces.Box(np.int64([-(2**53) - 1, 0]), np.int64([2**62 + 1, 1]), dtype=np.int64),
        spaces.Discrete(3),
        spaces.MultiDiscrete([2, 4]),
        spaces.MultiBinary((2, 3)),
        spaces.Dict(b=spaces.Discrete(3), a=spaces.MultiBinary(2)),
    ],
    ids=lambda space: type(space).__name__,
)
def test_a_space_goes_through_json(space: spaces.Space[Any]) -> None:
    decoded = decode_space(json.loads(json.dumps(encode_space("space", space))))
    assert decoded == space and decoded.dtype == space.dtype


def edited(edit: Callable[[Any], Any]) -> io.BytesIO:
    settings = json.loads(entry(SETTINGS))
    edit(settings)
    return with_entries(saved(), {SETTINGS: json.dumps(settings).encode()})


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
    "a huge integer": lambda s: s["arguments"].update(gamma=10**5000 if False else 10**40),
    "no counters": lambda s: s.pop("counters"),
    "negative steps": lambda s: s["counters"].update(num_timesteps=-1),
    "a learning rate of NaN": lambda s: s.update(learning_rates=["nan", 0.0]),
    "another policy": lambda s: s.update(policy="CnnPolicy"),
    "a class as a policy": lambda s: s.update(policy={"class": "torch.nn.ReLU"}),
    "a newer form": lambda s: s.update(format=2),
}


@pytest.mark.parametrize("edit", HOSTILE_SETTINGS.values(), ids=HOSTILE_SETTINGS)
def test_hostile_settings_are_refused(edit: Callable[[Any], Any]) -> None:
    refused(edited(edit))


def test_a_network_is_not_built_larger_than_the_weights_of_the_file() -> None:
    wide = {"dict": {"net_arch": [60_000, 60_000]}}  # 14 GB of weights
    file = edited(lambda settings: settings["arguments"].update(policy_kwargs=wide))
    assert "ask for more weights than it has" in refused(file)


@pytest.mark.filterwarnings("ignore:Initializing zero-element")
def test_layers_without_weights_are_counted_too() -> None:
    """Twenty thousand of them took 20 s."""
    many = {"dict": {"net_arch": [0] * 20_000}}
    file = edited(lambda settings: settings["arguments"].update(policy_kwargs=many))
    with time_limit(5):
        assert "ask for more weights than it has" in refused(file)


@contextmanager
def time_limit(seconds: int) -> Iterator[None]:
    def over(*_: Any) -> None:
        raise TimeoutError

    before = signal.signal(signal.SIGALRM, over)
    signal.alarm(seconds)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


def test_a_text_as_large_as_memory_is_refused_unread() -> None:
    """Each number of a ``Box`` would be one."""
    file = edited(lambda settings: settings["observation_space"]["Box"].update(dtype="S200000000"))
    assert "S200000000 is no type of numbers" in refused(file)


@pytest.mark.parametrize("key", ["\x1b[2J", "\ud800", "x" * 10**5], ids=["escape", "half", "long"])
def test_what_the_error_quotes_is_short_and_printable(key: str) -> None:
    """A terminal obeys what follows ESC."""
    file = edited(lambda s: s["arguments"].update(policy_kwargs={"dict": {key: 1}}))
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


def test_damaged_files_are_refused_or_loaded_identical(tmp_path: Path) -> None:
    """Bits flipped in the plain form, most of them in what is not weights, and files cut off."""
    generator, whole, expected = random.Random(0), saved(), state(load_safely(saved()))
    path, n_loaded, end = tmp_path / "model.zip", 0, len(whole)
    start = whole.index(SETTINGS.encode()) - 30  # of its header; what is before is not read
    places = [range(start, start + 2000), range(end - 1200, end), range(start, end)]
    for i in range(250):
        content = bytearray(whole)
        for _ in range(generator.choice([1, 1, 8])):
            content[generator.choice(generator.choice(places))] ^= 1 << generator.randrange(8)
        path.write_bytes(content[: generator.randrange(end)] if i % 5 == 0 else content)
        try:
            model = TDAC.load(path, safe=True, device="cpu")
        except ValueError as error:
            assert "path must be a model with plain settings" in str(error)
        else:
            assert_identical(state(model), expected)
            n_loaded += 1
    assert 0 < n_loaded < 100


def test_a_file_that_was_cut_is_no_file_of_an_earlier_version(tmp_path: Path) -> None:
    """``zipfile`` finds an archive in it: that of the parameters."""
    path, whole = tmp_path / "model.zip", saved()
    for share in (0.25, 0.5, 0.75, 0.95):
        path.write_bytes(whole[: int(share * len(whole))])
        with pytest.raises(ValueError, match="path must be a model with plain") as error:
            TDAC.load(path, safe=True)
        text = str(error.value)
        assert f"saved with sb3_tdac {__version__}, " in text and "without safe=True" not in text


def test_a_missing_file_is_a_missing_file(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        TDAC.load(tmp_path / "none", safe=True)
