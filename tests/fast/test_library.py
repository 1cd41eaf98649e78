"""A missing, damaged, foreign or stale library is refused with a reason, without a crash."""

import hashlib
import json
import shutil
import subprocess
import sys
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path

import _cffi_backend
import numpy as np
import pytest
from helpers.internals import uses_kernels
from helpers.kernel_learners import kernels
from helpers.path_pairs import actions_of, assert_identical, build, needs_library, state

from sb3_tdac.fast import library

FOLDER = library.FOLDER
COMPILER = next(filter(None, map(shutil.which, ("cc", "gcc", "clang"))), None)
needs_compiler = pytest.mark.skipif(COMPILER is None, reason="there is no C compiler")
N_CUTS = 60
#: A process of its own, which a bad library may end, loads from each folder and prints the reasons.
LOADING = """
import json, pathlib, sys
from sb3_tdac.fast import library
reasons = {}
for folder in map(pathlib.Path, sys.argv[1:]):
    library.FOLDER = folder
    library.load.cache_clear()
    loaded = library.load()
    reasons[folder.name] = loaded if isinstance(loaded, str) else "loaded"
print(json.dumps(reasons))
"""


def reasons(folders: list[Path]) -> dict[str, str]:
    """What ``load`` returns in each folder."""
    command = [sys.executable, "-c", LOADING, *map(str, folders)]
    run = subprocess.run(command, capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
    found: dict[str, str] = json.loads(run.stdout)
    return found


def sign(folder: Path) -> None:
    """Write the checksum of the library, as a build does."""
    content = (folder / "libkernels.so").read_bytes()
    (folder / "libkernels.sha256").write_text(hashlib.sha256(content).hexdigest())


def installed(folder: Path) -> Path:
    """A folder with what a build leaves."""
    folder.mkdir()
    for path in (*FOLDER.glob("*.[ch]"), *FOLDER.glob("libkernels.*")):
        shutil.copy(path, folder)
    return folder


@needs_library
def test_a_damaged_file_is_not_opened(tmp_path: Path) -> None:
    """Opening a part of a library ends the process with SIGBUS, wherever the cut is."""
    whole = (FOLDER / "libkernels.so").read_bytes()
    contents = {f"cut {i}": whole[: len(whole) * i // N_CUTS] for i in range(N_CUTS)}
    contents["one byte less"] = whole[:-1]
    contents["one byte more"] = whole + b"\0"
    contents["one bit"] = whole[:5000] + bytes([whole[5000] ^ 1]) + whole[5001:]
    contents["garbage"] = np.random.default_rng(0).bytes(len(whole))
    contents["text"] = b"no library"
    contents["foreign"] = Path(_cffi_backend.__file__).read_bytes()
    folders = []
    for name, content in contents.items():
        folders.append(installed(tmp_path / name))
        (folders[-1] / "libkernels.so").write_bytes(content)
    found = reasons(folders)
    for folder in folders:
        file = folder / "libkernels.so"
        assert found[folder.name] == f"{file} is damaged: install sb3_tdac again"


@needs_library
def test_a_file_that_is_whole_and_no_library_of_ours_is_refused(tmp_path: Path) -> None:
    """Though its checksum is right."""
    contents = {
        "empty": b"",
        "text": b"no library",
        "foreign": Path(_cffi_backend.__file__).read_bytes(),
    }
    folders = [installed(tmp_path / name) for name in contents]
    for folder in folders:
        (folder / "libkernels.so").write_bytes(contents[folder.name])
        sign(folder)
    found = reasons(folders)
    remedy = ": install sb3_tdac again"
    for name in ("empty", "text"):
        assert "the kernels cannot be loaded (" in found[name] and remedy in found[name]
    assert f"belongs to another version of sb3_tdac{remedy}" in found["foreign"]


@needs_library
def test_a_file_without_its_checksum_or_header_is_refused(tmp_path: Path) -> None:
    folders = [installed(tmp_path / name) for name in ("libkernels.sha256", "kernels.h")]
    for folder in folders:
        (folder / folder.name).unlink()
    for name, reason in reasons(folders).items():
        assert "the kernels cannot be loaded (" in reason and name in reason


def compiled(folder: Path, change: Callable[[str], str], checksum: int | None = None) -> Path:
    """A library from changed sources, beside the sources as they are."""
    folder.mkdir()
    for source in FOLDER.glob("*.[ch]"):
        shutil.copy(source, folder)
    changed = folder / "changed"
    changed.mkdir()
    for source in FOLDER.glob("*.[ch]"):
        (changed / source.name).write_text(change(source.read_text()))
    if checksum is None:
        sources = sorted(folder.glob("*.[ch]"))
        checksum = zlib.crc32(b"".join(source.read_bytes() for source in sources))
    output = ["-o", folder / "libkernels.so", "-lm"]
    flags = ["-shared", "-fPIC", f"-DSOURCE_CHECKSUM={checksum}"]
    subprocess.run([str(COMPILER), *flags, changed / "kernels.c", *output], check=True)
    sign(folder)
    return folder


def one_field_more(text: str) -> str:
    return text.replace("int64_t size, rows;", "int64_t size, rows, more;")


def without_a_function(text: str) -> str:
    return text.replace("normalize_rewards(", "normalize_all_rewards(")


@needs_compiler
def test_a_stale_library_is_refused(tmp_path: Path) -> None:
    """From other sources; or by its number from these, with other structures or functions."""
    folders = [
        compiled(tmp_path / "as it is", str),
        compiled(tmp_path / "other sources", str, checksum=1),
        compiled(tmp_path / "other sizes", one_field_more),
        compiled(tmp_path / "missing function", without_a_function),
    ]
    found = reasons(folders)
    assert found.pop("as it is") == "loaded"
    for name, reason in found.items():
        file = tmp_path / name / "libkernels.so"
        assert reason == f"{file} belongs to another version of sb3_tdac: install sb3_tdac again"


@pytest.fixture
def other_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Loaded from, in the place of the package's."""
    folder = tmp_path / "fast"
    folder.mkdir()
    monkeypatch.setattr(library, "FOLDER", folder)
    library.load.cache_clear()
    yield folder
    library.load.cache_clear()


def none(folder: Path) -> str:
    return "the kernels are not compiled: install a C compiler, then sb3_tdac again"


def damaged(folder: Path) -> str:
    (folder / "libkernels.so").write_bytes(b"no library")
    (folder / "libkernels.sha256").write_text("of another file")
    return f"{folder / 'libkernels.so'} is damaged: install sb3_tdac again"


def stale(folder: Path) -> str:
    for path in (*FOLDER.glob("*.[ch]"), *FOLDER.glob("libkernels.*")):
        shutil.copy(path, folder)
    with (folder / "kernels.h").open("a") as header:
        header.write("/* newer than the library */\n")
    file = folder / "libkernels.so"
    return f"{file} belongs to another version of sb3_tdac: install sb3_tdac again"


@pytest.mark.parametrize("fault", [none, damaged, pytest.param(stale, marks=needs_library)])
def test_without_the_kernels_nothing_changes_and_the_reason_is_printed(
    fault: Callable[[Path], str], other_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    general = build(False)
    expected = actions_of(general, 3)
    reason = fault(other_folder)
    model = build(True, verbose=1)
    actions = actions_of(model, 3)
    assert f"Computing on the general path: {reason}\n" in capsys.readouterr().out
    assert not uses_kernels(model)
    np.testing.assert_array_equal(actions, expected)
    assert_identical(state(model), state(general))


def test_cffi_and_the_library_are_loaded_by_the_first_choice_of_a_learner() -> None:
    code = (
        "import sys, sb3_tdac.fast\n"
        "assert not {'cffi', '_cffi_backend', 'pycparser'} & {*sys.modules}\n"
        "assert sb3_tdac.fast.library.load.cache_info().currsize == 0\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


@needs_library
def test_pointers_are_to_aligned_arrays_without_gaps_of_the_right_type() -> None:
    loaded = kernels()
    arrays = [library.zeros(size, 3) for size in range(1, 30)]
    assert not any(array.ctypes.data % 64 or array.any() for array in arrays)
    array = arrays[-1]
    address = loaded.ffi.cast("intptr_t", loaded.ffi.cast("void *", loaded.pointer(array)))
    assert int(address) == array.ctypes.data
    with pytest.raises(BufferError, match="contiguous"):
        loaded.pointer(array.T[1:])
    with pytest.raises(KeyError):
        loaded.pointer(array.astype(np.int16))
