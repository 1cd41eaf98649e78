"""Finds the tests of each equation: those with the marker ``@pytest.mark.equation("4.20")``."""

import ast
from pathlib import Path

TESTS = Path(__file__).parent.parent / "tests"


def equation_tests(folder: Path = TESTS) -> dict[str, list[tuple[str, Path]]]:
    """Read the markers without importing the tests.

    :param folder: folder of test files
    :return: for each equation the names of its tests and their files
    """
    found: dict[str, list[tuple[str, Path]]] = {}
    for path in sorted(folder.rglob("test_*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.FunctionDef):
                for equation in _marked(node):
                    found.setdefault(equation, []).append((node.name, path))
    return found


def _marked(test: ast.FunctionDef) -> list[str]:
    calls = [node for node in test.decorator_list if isinstance(node, ast.Call)]
    return [
        ast.literal_eval(argument)
        for call in calls
        if ast.unparse(call.func) == "pytest.mark.equation"
        for argument in call.args
    ]


def numbers(words: str) -> list[str]:
    """The equations of a cell.

    >>> numbers("(4.1) to (4.3)")
    ['4.1', '4.2', '4.3']
    """
    ends = [int(word.strip("()").removeprefix("4.")) for word in words.split() if word != "to"]
    return [f"4.{number}" for number in range(ends[0], ends[-1] + 1)]


def table(rows: list[str], tests: dict[str, list[tuple[str, Path]]]) -> str:
    """A Markdown table: the rows as they are, with a column of tests.

    :param rows: ``(4.1) to (4.3) | what they say | function``
    :param tests: of ``equation_tests``
    :return: the table
    :raises ValueError: if an equation has no test
    """
    lines = ["| equation | what it says | in the code | tests |", "|---|---|---|---|"]
    for row in rows:
        equations = numbers(row.split("|")[0])
        missing = [number for number in equations if number not in tests]
        if missing:
            raise ValueError(f"no test is marked with @pytest.mark.equation for {missing}")
        names = dict.fromkeys(name for number in equations for name, _ in tests[number])
        lines.append(f"| {row} | " + ", ".join(f"`{name}`" for name in names) + " |")
    return "\n".join(lines)
