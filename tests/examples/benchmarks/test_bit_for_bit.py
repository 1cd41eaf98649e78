"""``bit_for_bit.py`` finds that two recordings are the same, or which training differs."""

from pathlib import Path

import bit_for_bit
import numpy as np
import pytest
from helpers.scripts import call_main


def test_recordings_of_one_version_are_the_same_and_a_changed_bit_is_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = "critic last, three steps, kernels"
    monkeypatch.setattr(bit_for_bit, "TRAININGS", {name: bit_for_bit.TRAININGS[name]})
    paths = [str(tmp_path / f"{version}.npz") for version in ("old", "new")]
    for path in paths:
        call_main(bit_for_bit, "record", path)
    assert f"{name}: " in (out := call_main(bit_for_bit, "compare", *paths)) and "the same" in out
    with np.load(paths[1]) as file:
        arrays = dict(file)
    key = next(key for key in arrays if "policy|" in key)
    arrays[key].reshape(-1)[0] = np.nextafter(arrays[key].reshape(-1)[0], np.float32(np.inf))
    np.savez(paths[1], **arrays)
    with pytest.raises(SystemExit, match="1 of 1 trainings differ"):
        call_main(bit_for_bit, "compare", *paths)
