"""Settings of the site: ``make docs`` builds it."""

import re
import sys
from pathlib import Path

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE), str(HERE.parent)]

from equation_tests import equation_tests, table  # noqa: E402

from sb3_tdac import __version__  # noqa: E402

project = "sb3_tdac"
version = release = __version__
extensions = [
    "myst_parser",
    "sphinx.ext.autodoc",
    "sphinx.ext.mathjax",
    "sphinx-mathjax-offline",  # MathJax in the package: equations need no network
]
exclude_patterns = ["_build"]
myst_enable_extensions = ["amsmath", "colon_fence", "dollarmath"]
myst_heading_anchors = 3
html_theme = "furo"
html_title = f"sb3_tdac {version}"
html_static_path = ["_static"]
html_css_files = ["site.css"]
html_copy_source = False
html_show_copyright = False
autodoc_typehints = "description"
autodoc_typehints_description_target = "documented"
autodoc_member_order = "bysource"


class EquationTable(SphinxDirective):
    """A table of equations; the markers of the tests give its last column."""

    has_content = True

    def run(self) -> list[nodes.Node]:
        """Read the tests and build the table."""
        tests = equation_tests()
        for found in tests.values():
            for _, path in found:
                self.env.note_dependency(str(path))
        return self.parse_text_to_nodes(table(list(self.content), tests))


def formulas(
    app: Sphinx, what: str, name: str, obj: object, options: object, lines: list[str]
) -> None:
    """Turn ``$...$`` into reStructuredText's ``:math:``, and keep the star of ``(B, *shape)``."""
    text = re.sub(r"\$([^$]+)\$", r":math:`\1`", "\n".join(lines))
    text = re.sub(r", \*(?=\w)", r", \\*", text)
    lines[:] = text.split("\n")


def setup(app: Sphinx) -> None:
    """Register what this file adds to Sphinx."""
    app.add_directive("equation-table", EquationTable)
    app.connect("autodoc-process-docstring", formulas)
