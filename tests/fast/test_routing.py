"""Which path is taken, and why; without the compiled library nothing changes."""

import ast
from pathlib import Path

import numpy as np
import pytest
from helpers.path_pairs import (
    actions_of,
    assert_identical,
    build,
    needs_library,
    state,
)
from torch import nn

import sb3_tdac
from sb3_tdac import TDAC
from sb3_tdac.fast import library


class Subclass(TDAC):
    """Of another name only."""


def test_the_choice_is_printed_once_with_its_reason(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def printed(model: TDAC) -> list[str]:
        actions_of(model, 3)
        lines = capsys.readouterr().out.splitlines()
        return [line for line in lines if line.startswith("Computing on")]

    if library.load() is not None:
        assert printed(build(True, verbose=1)) == ["Computing on the fast path (compiled kernels)"]
        elu = build(True, verbose=1, policy_kwargs=dict(activation_fn=nn.ELU))
        reason = "an activation is neither Tanh nor ReLU"
        assert printed(elu) == [f"Computing on the general path: {reason}"]
    assert printed(build(False, verbose=1)) == ["Computing on the general path: fast_path=False"]
    assert printed(build(True)) == []
    subclass = Subclass("MlpPolicy", build(True).get_env(), verbose=1, n_steps=8)
    reason = "Subclass is a subclass of TDAC"
    assert printed(subclass) == [f"Computing on the general path: {reason}"]


@needs_library
def test_fast_path_may_be_set_later() -> None:
    model = build(True)
    actions_of(model, 1)
    model.fast_path = False
    actions_of(model, 1)
    assert model._kernels is None


@pytest.mark.parametrize("content", [None, b"no library"])
def test_without_the_library_nothing_changes(
    content: bytes | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    general = build(False)
    expected = actions_of(general, 3)
    monkeypatch.setattr(library, "FILE", tmp_path / "libkernels.so")
    if content:
        library.FILE.write_bytes(content)
    library.load.cache_clear()
    try:
        model = build(True)
        actions = actions_of(model, 3)
    finally:
        library.load.cache_clear()
    assert model._kernels is None and "not compiled" in str(model._path)
    np.testing.assert_array_equal(actions, expected)
    assert_identical(state(model), state(general))


def test_only_the_algorithm_imports_the_fast_path() -> None:
    package = Path(sb3_tdac.__file__).parent
    importing = set()
    for path in package.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            names = [alias.name for alias in getattr(node, "names", []) if hasattr(alias, "name")]
            module = getattr(node, "module", None) or ""
            if any(f"{module}.{name}.".find("sb3_tdac.fast.") >= 0 for name in names):
                importing.add(str(path.relative_to(package)))
    assert {name for name in importing if not name.startswith("fast")} == {"tdac.py"}
