"""The package imports no more than it needs; import-linter holds the order of its layers."""

import ast
import subprocess
import sys
from pathlib import Path

import sb3_tdac

EQUATIONS = Path(sb3_tdac.__file__).parent / "equations.py"


def test_equations_import_math_and_torch_only() -> None:
    modules = set()
    for node in ast.walk(ast.parse(EQUATIONS.read_text())):
        if isinstance(node, ast.Import):
            modules |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            modules.add(str(node.module))
    assert modules == {"math", "torch"}


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
