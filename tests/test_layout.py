"""The package imports no more than it needs; import-linter holds the order of its layers."""

import ast
import importlib
import subprocess
import sys
from pathlib import Path

import pytest

import sb3_tdac
from sb3_tdac import vec_envs

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


@pytest.mark.parametrize(
    ("module", "name"),
    [
        ("vec_env", "LeanDummyVecEnv"),
        ("vec_gymnasium", "GymnasiumVecEnv"),
        ("vec_envpool", "EnvPoolVecEnv"),
    ],
)
def test_the_vector_environments_keep_their_former_names(module: str, name: str) -> None:
    former = importlib.import_module(f"sb3_tdac.{module}")
    assert getattr(former, name) is getattr(vec_envs, name)
