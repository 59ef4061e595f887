"""The site: `sphinx-build -W docs OUT`. Pages of docs/, and reference pages written from the package itself."""

import sys
from pathlib import Path

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE))

from _reference import write_reference  # noqa: E402

import advkit  # noqa: E402

project, author, release = "advkit", "the advkit developers", advkit.__version__
extensions = ["myst_nb", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
source_suffix = {".md": "myst-nb", ".rst": "restructuredtext"}
exclude_patterns = ["_build"]
html_theme, html_title, html_show_copyright = "furo", "advkit", False
html_static_path, html_css_files = ["_static"], ["site.css"]

myst_heading_anchors = 4
highlight_language = "none"  # indented blocks are commands and output; Python is marked as such
nb_execution_mode, nb_execution_raise_on_error, nb_execution_timeout = "force", True, 600
nb_merge_streams = True
autodoc_typehints, autodoc_member_order = "none", "bysource"
napoleon_numpy_docstring, napoleon_use_rtype, napoleon_use_ivar = False, False, True
suppress_warnings = ["myst.xref_ambiguous"]
nitpicky = False

write_reference(HERE / "reference")


def plain(app: object, what: str, name: str, obj: object, options: object, lines: list[str]) -> None:
    """Docstrings are plain text with `code`: what reStructuredText would read as markup is kept as it is."""
    for i, line in enumerate(lines):
        parts = line.replace("\\", "\\\\").split("`")
        quoted = [part if k % 2 else part.replace("|", "\\|").replace("*", "\\*") for k, part in enumerate(parts)]
        even = len(parts) % 2 == 1
        marked = [f"``{part}``" if k % 2 else part for k, part in enumerate(quoted)]
        lines[i] = "".join(marked) if even else line.replace("`", "\\`")


def setup(app: object) -> None:
    """Before the sections of a docstring are read."""
    app.connect("autodoc-process-docstring", plain, priority=100)  # type: ignore[attr-defined]
