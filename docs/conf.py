"""The site: `sphinx-build -W docs OUT`. Pages of docs/, and reference pages written from the package itself."""

import re
import sys
from pathlib import Path
from typing import Any

from sphinx.util.nodes import make_refnode

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE))

from _docstrings import apart, inherited, plain, untyped, written  # noqa: E402
from _reference import write_reference  # noqa: E402

import advkit  # noqa: E402

project, author, release = "advkit", "the advkit developers", advkit.__version__
extensions = ["myst_nb", "sphinx.ext.autodoc", "sphinx.ext.napoleon", "sphinx.ext.viewcode", "sphinx_copybutton"]
source_suffix = {".md": "myst-nb", ".rst": "restructuredtext"}
exclude_patterns = ["_build"]
html_theme, html_title, html_show_copyright = "furo", f"advkit {release}", False
templates_path = ["_templates"]
html_static_path, html_css_files, html_js_files = ["_static"], ["site.css"], ["search.js"]
html_theme_options = {"top_of_page_buttons": ["view"]}  # the page as written lies beside it: no address is needed

myst_enable_extensions, myst_heading_anchors = ["colon_fence"], 4
highlight_language = "none"  # indented blocks are commands and output; Python is marked as such
nb_execution_mode, nb_execution_raise_on_error, nb_execution_timeout = "force", True, 600
nb_merge_streams = True
nb_execution_in_temp = True  # what a notebook writes is not left in docs/
copybutton_selector = "div:not(.output):not(.highlight-text):not(.highlight-none) > div.highlight > pre"  # no output
autodoc_typehints, autodoc_member_order = "signature", "bysource"
python_maximum_signature_line_length = 88  # longer ones have one line a parameter
napoleon_numpy_docstring, napoleon_use_rtype, napoleon_use_ivar = False, False, True
suppress_warnings = ["myst.xref_ambiguous"]
nitpicky = True  # every name that a page or a docstring refers to is looked up
nitpick_ignore_regex = [  # documented elsewhere, and fields whose classes are no public names
    ("py:.*", r"(torch|numpy|os|collections|pathlib|pandas|matplotlib|jinja2|lightning)\..*"),
    ("py:class", r"advkit\..*\.(State|Memory|Oracle|Draws|Region|Placing|Pose)"),  # what a step of an attack is given
    ("py:class", r"advkit\..*\.(Tally|Counts|Row|Cell|Table|Batch|Spec|Network|TrainedBounds|World|[A-Z])"),
    ("py:class", r"advkit\.(testing|training\.augment)\..*\.(Wrapped|Toy|Case|Augmentation|Numbers)"),
]

write_reference(HERE / "reference")


def resolved(app: object, env: Any, node: Any, shown: Any) -> Any:
    """A name that a docstring gives without its package, such as InputError, leads to the one entry that has it."""
    if node["refdomain"] != "py":
        return None
    found = [entry for name, entry in env.domaindata["py"]["objects"].items() if name.endswith(f".{node['reftarget']}")]
    if len({entry.node_id for entry in found}) != 1:
        return None
    here = node.get("refdoc", "index")
    return make_refnode(app.builder, here, found[0].docname, found[0].node_id, shown)  # type: ignore[attr-defined]


def linked(app: object, name: str, source: list[str]) -> None:
    """In the first table of the attacks each name leads to the page of the attack."""
    if name == "attacks":
        source[0] = re.sub(
            r"^\| `(\w+)` \|(?= (?:budget|minimal) )", r"| [`\1`](reference/attacks/\1) |", source[0], flags=re.M
        )


def sourced(app: object, env: Any) -> None:
    """A file's page leads back to one page of entries that has all its names: the package's own, not the front door."""
    entries = env.domaindata["py"]["objects"]
    for module, found in list(env._viewcode_modules.items()):
        if found:
            code, tags, used, _ = found
            for place in sorted(set(used.values()), key=len, reverse=True):
                package = place.rpartition("/")[2]
                if all(f"{package}.{name}" in entries for name in used):
                    env._viewcode_modules[module] = code, tags, dict.fromkeys(used, place), package
                    break


def setup(app: object) -> None:
    """Before the sections of a docstring are read, and where a name is not found."""
    app.connect("autodoc-process-docstring", plain, priority=100)  # type: ignore[attr-defined]
    app.connect("autodoc-process-docstring", inherited, priority=50)  # type: ignore[attr-defined]
    app.connect("autodoc-process-docstring", apart, priority=200)  # type: ignore[attr-defined]
    app.connect("autodoc-process-docstring", untyped, priority=900)  # type: ignore[attr-defined]
    app.connect("autodoc-process-signature", written)  # type: ignore[attr-defined]
    app.connect("missing-reference", resolved)  # type: ignore[attr-defined]
    app.connect("env-updated", sourced)  # type: ignore[attr-defined]
    app.connect("source-read", linked)  # type: ignore[attr-defined]
