"""Do all links of the built site lead somewhere? `python docs/_links.py SITE`, offline; addresses elsewhere are listed.

Every relative link and every anchor of every page is looked up in the folder that Sphinx wrote.
"""

import sys
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

WRITTEN = ("genindex", "search", "py-modindex")
"""Pages of Sphinx itself, which have no text of ours."""


class _Page(HTMLParser):
    """What a page links to, and which anchors it has."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.links: list[str] = []
        self.anchors = {"", "top"}
        self.feed(path.read_text("utf-8"))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        for name, value in attrs:
            if name in ("href", "src") and value is not None:
                self.links.append(value)
            elif name == "id" and value:
                self.anchors.add(value)


def lost_links(site: Path) -> tuple[list[str], set[str]]:
    """The links that lead nowhere, as "page: link", and the addresses elsewhere.

    Args:
        site: folder that Sphinx wrote.
    """
    pages = {path.resolve(): _Page(path) for path in site.rglob("*.html")}
    lost, elsewhere = [], set()
    for path, page in pages.items():
        for link in _ours(path, page):
            parts = urlsplit(link)
            if parts.scheme or parts.netloc:
                elsewhere.add(link)
            elif not _leads(path, unquote(parts.path), unquote(parts.fragment), pages):
                lost.append(f"{path.relative_to(site.resolve())}: {link}")
    return lost, {link for link in elsewhere if not link.startswith("data:")}


def _ours(path: Path, page: _Page) -> Iterator[str]:
    yield from (link for link in page.links if path.stem not in WRITTEN)


def _leads(path: Path, place: str, anchor: str, pages: dict[Path, _Page]) -> bool:
    """Whether the file is there and has the anchor."""
    to = (path.parent / place).resolve() if place else path
    to = to / "index.html" if to.is_dir() else to
    return anchor in pages[to].anchors if to in pages else to.exists() and not anchor


if __name__ == "__main__":
    bad, others = lost_links(Path(sys.argv[1]))
    print("\n".join(["addresses elsewhere:", *sorted(others), *(f"leads nowhere: {link}" for link in bad)]))
    sys.exit(bool(bad))
