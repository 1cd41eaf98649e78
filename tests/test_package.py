"""Source distribution and wheel hold what a user needs and nothing else."""

import hashlib
import os
import re
import shutil
import subprocess
import sys
import tarfile
import zipfile
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

import sb3_tdac

ROOT = Path(__file__).parent.parent
LIBRARY, CHECKSUM = (f"sb3_tdac/fast/libkernels.{suffix}" for suffix in ("so", "sha256"))
SOURCES = {f"sb3_tdac/fast/{name}" for name in ("kernels.c", "kernels.h", "network.c")}
needs_compiler = pytest.mark.skipif(
    not any(map(shutil.which, ("cc", "gcc", "clang"))), reason="there is no C compiler"
)


def build(kind: str, source: Path, folder: Path, **environment: str) -> Path:
    """Build a ``wheel`` or an ``sdist``."""
    command = [sys.executable, "-m", "build", f"--{kind}", "--no-isolation", "--outdir"]
    environment = {k: v for k, v in os.environ.items() if k != "CC"} | environment
    command += [str(folder), str(source)]
    subprocess.run(command, check=True, capture_output=True, env=environment)
    (built,) = (path for path in folder.iterdir() if path.suffix in (".whl", ".gz"))
    return built


def files_of(wheel: Path) -> set[str]:
    return set(zipfile.ZipFile(wheel).namelist())


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The unpacked source distribution."""
    folder = tmp_path_factory.mktemp("sdist")
    with tarfile.open(build("sdist", ROOT, folder)) as archive:
        archive.extractall(folder, filter="data")
    (unpacked,) = (path for path in folder.iterdir() if path.is_dir())
    return unpacked


@pytest.fixture(scope="module")
def wheel(source: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build("wheel", source, tmp_path_factory.mktemp("wheel"))


def test_the_oldest_versions_that_are_allowed_are_those_that_are_tested() -> None:
    (line,) = re.findall(r"^OLDEST := (.*)$", (ROOT / "Makefile").read_text(), re.MULTILINE)
    pins = dict(pin.split("==") for pin in line.split())
    assert set(pins) == {"stable-baselines3", "gymnasium", "numpy"}
    for name, version in pins.items():
        assert f'"{name}>={version},<' in (ROOT / "pyproject.toml").read_text()
        assert f"{name} {version}" in (ROOT / "README.md").read_text()


def test_the_source_distribution_holds_the_sources_of_the_kernels(source: Path) -> None:
    assert {f for f in SOURCES if (source / f).is_file()} == SOURCES
    assert (source / "hatch_build.py").is_file()
    assert not [*source.rglob("*.so")] and not [*source.rglob("*.sha256")]


@needs_compiler
def test_wheel_holds_the_kernels_of_its_platform(wheel: Path) -> None:
    assert {LIBRARY, CHECKSUM} | SOURCES <= files_of(wheel)
    assert "-py3-none-" in wheel.name and not wheel.name.endswith("-any.whl")


def test_without_a_compiler_the_wheel_is_pure_python(source: Path, tmp_path: Path) -> None:
    pure = build("wheel", source, tmp_path, CC="none")
    files = files_of(pure)
    assert pure.name.endswith("-py3-none-any.whl")
    assert {"sb3_tdac/fast/learner.py"} | SOURCES <= files
    assert not {LIBRARY, CHECKSUM} & files


@needs_compiler
@pytest.mark.skipif(sys.platform != "linux", reason="auditwheel is for Linux")
def test_auditwheel_accepts_the_wheel_and_leaves_the_library_whole(
    wheel: Path, tmp_path: Path
) -> None:
    """The checksum beside the library is of the library that is uploaded."""
    pytest.importorskip("auditwheel", reason="auditwheel is not installed: sb3_tdac[dev]")
    scripts = Path(sys.executable).parent
    environment = os.environ | dict(PATH=f"{scripts}{os.pathsep}{os.environ['PATH']}")
    command = [sys.executable, "-m", "auditwheel", "repair", "--wheel-dir", str(tmp_path)]
    subprocess.run([*command, str(wheel)], check=True, capture_output=True, env=environment)
    (repaired,) = tmp_path.glob("*-manylinux_*.whl")
    with zipfile.ZipFile(repaired) as content:
        checksum = hashlib.sha256(content.read(LIBRARY)).hexdigest()
        assert content.read(CHECKSUM).decode() == checksum


def test_wheel_holds_the_configurations_and_the_type_marker(wheel: Path) -> None:
    names = files_of(wheel)
    assert sb3_tdac.__version__ in wheel.name
    assert {"sb3_tdac/py.typed", "sb3_tdac/tdac.py", "sb3_tdac/zoo/cli.py"} <= names
    configurations = {
        f"sb3_tdac/zoo_configs/{path.name}" for path in ROOT.glob("zoo_configs/*.yml")
    }
    assert len(configurations) == 2 and configurations <= names
    assert not any(name.startswith(("tests/", "examples/")) for name in names)


@pytest.fixture
def hook() -> ModuleType:
    """The build hook, which is no module of the package."""
    spec = spec_from_file_location("hatch_build", ROOT / "hatch_build.py")
    assert spec is not None and spec.loader is not None
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize(
    ("python", "system", "processor", "tag"),
    [
        ("macosx-10.9-universal2", "14.5", "arm64", "macosx_14_0_arm64"),
        ("macosx-10.9-universal2", "13.6", "x86_64", "macosx_13_0_x86_64"),
        ("macosx-11.0-arm64", "15.1", "arm64", "macosx_15_0_arm64"),
        ("linux-x86_64", "", "", "linux_x86_64"),
        ("linux-aarch64", "", "", "linux_aarch64"),
    ],
)
def test_the_tag_is_of_what_the_compiler_here_compiles_for(
    python: str,
    system: str,
    processor: str,
    tag: str,
    hook: ModuleType,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Not of what the Python was compiled for: universal2 stands for two processors."""
    monkeypatch.setattr("sysconfig.get_platform", lambda: python)
    monkeypatch.setattr("platform.mac_ver", lambda: (system, ("", "", ""), processor))
    assert hook.platform_tag() == tag


class App:
    """What the hook tells the user."""

    def __init__(self) -> None:
        self.warnings: list[str] = []

    def display_warning(self, warning: str) -> None:
        self.warnings.append(warning)


@pytest.mark.parametrize(
    ("platform", "compiler", "reason"),
    [
        ("win32", None, "its kernels are compiled on Linux and macOS only"),
        ("linux", "none", "there is no C compiler"),
        ("linux", "false", "compiling the kernels failed"),
    ],
)
def test_a_build_without_kernels_says_why(
    platform: str,
    compiler: str | None,
    reason: str,
    hook: Any,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    shutil.copytree(ROOT / "sb3_tdac" / "fast", tmp_path / "sb3_tdac" / "fast")
    monkeypatch.setattr(hook.sys, "platform", platform)
    monkeypatch.setattr(hook, "find_spec", lambda name: None)  # ziglang is not installed
    if compiler is not None:
        monkeypatch.setenv("CC", compiler)
    app, data = App(), dict(artifacts=[])
    built = hook.CompileKernels(str(tmp_path), {}, None, None, str(tmp_path), "wheel", app)
    built.initialize("standard", data)
    assert app.warnings == [f"sb3_tdac is built without its fast path: {reason}"]
    assert data == dict(artifacts=[])
    if platform == "win32":
        assert built.dependencies() == []
