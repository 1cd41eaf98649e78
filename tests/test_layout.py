"""Imports point one way, and the package needs no more than it says."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import sb3_tdac

PACKAGE = Path(sb3_tdac.__file__).parent
ORDER = [
    "equations",
    "checks",
    "schedules",
    "distributions",
    "running",
    "transitions",
    "policies",
    "base",
    "tdac",
    "__init__",
    "zoo",
    "vec_env",
    "vec_native",
    "vec_gymnasium",
    "vec_envpool",
]


def imported_modules(path: Path) -> set[str]:
    modules = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            modules |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            names = {f"{node.module}.{alias.name}" for alias in node.names}
            modules |= names if node.module == "sb3_tdac" else {node.module or ""}
    return modules


@pytest.mark.parametrize("path", sorted(PACKAGE.glob("*.py")), ids=lambda path: path.stem)
def test_imports_point_down_the_order(path: Path) -> None:
    earlier = ORDER[: ORDER.index(path.stem)]
    ours = {name for name in imported_modules(path) if name.startswith("sb3_tdac")}
    assert ours <= {f"sb3_tdac.{name}" for name in earlier}


def test_equations_import_math_and_torch_only() -> None:
    assert imported_modules(PACKAGE / "equations.py") == {"math", "torch"}


def test_importing_the_package_imports_no_zoo_and_no_plots() -> None:
    code = (
        "import sys, sb3_tdac\n"
        "assert 'rl_zoo3' not in sys.modules and 'scipy' not in sys.modules\n"
        "assert 'sb3_tdac.zoo' not in sys.modules\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
