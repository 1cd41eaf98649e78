"""Imports point one way, and the package needs no more than it says."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import sb3_tdac

PACKAGE = Path(sb3_tdac.__file__).parent
ORDER = [
    "version",
    "equations",
    "checks",
    "files",
    "callbacks",
    "schedules",
    "distributions",
    "running",
    "transitions",
    "processes",
    "places",
    "update_faults",
    "env_faults",
    "env_errors",
    "originals",
    "policies",
    "seeding",
    "plain",
    "entries",
    "safe",
    "saving",
    "base",
    "fast.library",
    "fast.network",
    "fast.routing",
    "fast.kernels",
    "fast.__init__",
    "export",
    "tdac",
    "__init__",
    "vec_env",
    "vec_native",
    "vec_gymnasium",
    "vec_envpool",
    "zoo.hyperparams",
    "zoo.__init__",
    "zoo.study",
    "zoo.manager",
    "zoo.resume",
    "zoo.mends",
    "zoo.commands",
    "zoo.worker",
    "zoo.report",
    "zoo.sweep",
    "zoo.contenders",
    "zoo.runs",
    "zoo.evaluation",
    "zoo.pool",
    "zoo.scores",
    "zoo.statistics",
    "zoo.comparison",
    "zoo.folders",
    "zoo.pictures",
    "zoo.tables",
    "zoo.compare",
    "zoo.cli",
    "zoo.__main__",
]
MODULES = {
    ".".join(path.relative_to(PACKAGE).with_suffix("").parts): path
    for path in PACKAGE.rglob("*.py")
}
PACKAGES = ["sb3_tdac", *(f"sb3_tdac.{path.parent.name}" for path in PACKAGE.glob("*/__init__.py"))]


def imported_modules(path: Path) -> set[str]:
    modules = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            modules |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            names = {f"{node.module}.{alias.name}" for alias in node.names}
            modules |= names if node.module in PACKAGES else {node.module or ""}
    return modules


def our_module(name: str) -> str:
    """``sb3_tdac.zoo.cli`` is the module zoo.cli, ``sb3_tdac.TDAC`` a name in __init__."""
    inner = name.removeprefix("sb3_tdac.")
    package = inner.rpartition(".")[0]
    candidates = (inner, f"{inner}.__init__", f"{package}.__init__".removeprefix("."))
    return next(candidate for candidate in candidates if candidate in MODULES)


@pytest.mark.parametrize("module", sorted(MODULES))
def test_imports_point_down_the_order(module: str) -> None:
    earlier = ORDER[: ORDER.index(module)]
    names = imported_modules(MODULES[module])
    assert {our_module(name) for name in names if name.startswith("sb3_tdac")} <= set(earlier)


def test_equations_import_math_and_torch_only() -> None:
    assert imported_modules(PACKAGE / "equations.py") == {"math", "torch"}


def test_importing_the_package_imports_no_zoo_and_no_plots() -> None:
    code = (
        "import sys, sb3_tdac\n"
        "assert 'rl_zoo3' not in sys.modules and 'scipy' not in sys.modules\n"
        "assert 'sb3_tdac.zoo' not in sys.modules\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_training_imports_no_compiler_of_torch() -> None:
    """It takes longer than Pendulum-v1 does."""
    code = (
        "import sys, sb3_tdac\n"
        "sb3_tdac.TDAC('MlpPolicy', 'Pendulum-v1', device='cpu').learn(64)\n"
        "assert 'torch._dynamo' not in sys.modules and 'sympy' not in sys.modules\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
