"""The site builds without warnings, needs no network, and shows every equation with its tests."""

import re
import subprocess
import sys
from pathlib import Path

import pytest
from equation_tests import equation_tests, numbers, table

ROOT = Path(__file__).parent.parent.parent
DOCS = ROOT / "docs"
EQUATIONS = [f"4.{number}" for number in range(1, 27)]


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    pytest.importorskip("sphinx", reason="pip install 'sb3_tdac[docs]'")
    out = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "sphinx", "-W", "--keep-going", "-q", str(DOCS), str(out)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return out


def test_every_equation_has_a_marked_test() -> None:
    assert set(equation_tests()) == set(EQUATIONS)


def test_the_page_displays_every_equation_once() -> None:
    text = (DOCS / "algorithm.md").read_text()
    assert re.findall(r"\\tag\{(4\.\d+)\}", text) == EQUATIONS


def test_the_table_has_a_row_for_every_equation() -> None:
    body = (DOCS / "algorithm.md").read_text().split("```{equation-table}\n")[1].split("```")[0]
    rows = body.strip().split("\n")
    assert [number for row in rows for number in numbers(row.split("|")[0])] == EQUATIONS


def test_a_row_without_a_marked_test_is_an_error() -> None:
    with pytest.raises(ValueError, match=r"4\.20"):
        table(["(4.20) | the critic's loss | `critic_loss`"], {})


def test_the_site_shows_the_tests_of_an_equation(site: Path) -> None:
    page = (site / "algorithm.html").read_text()
    for tests in equation_tests().values():
        assert all(name in page for name, _ in tests)


def test_no_page_loads_anything_from_a_network(site: Path) -> None:
    loading = r"<(?:script|img|iframe)[^>]*\bsrc=\"(?:https?:)?//|<link[^>]*stylesheet[^>]*//"
    for page in site.rglob("*.html"):
        assert not re.search(loading, page.read_text()), page
    for style in site.rglob("*.css"):
        assert not re.search(r"(?:@import|url\()[^;)]*//", style.read_text()), style
    assert (site / "_static" / "mathjax" / "tex-chtml.js").exists()


def test_the_search_finds_every_page(site: Path) -> None:
    index = (site / "searchindex.js").read_text()
    for page in DOCS.glob("*.md"):
        assert f'"{page.stem}"' in index, page
