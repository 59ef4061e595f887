"""What Chromium shows of a page: at three widths, light, dark and as printed."""

import html
import json
import os
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

PROBE = Path(__file__).with_name("page_probe.js").read_text()

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")

MODES = {"light": ("", ""), "dark": ("(prefers-color-scheme: dark)", "all"), "print": ("@media print", "@media all")}
WIDTHS = (1280, 800, 390)
FRAMES = [(mode, width) for mode in MODES for width in WIDTHS] + [("paper", 718)]
"""What is looked at; the last is a sheet of A4, on which tables stay tables."""


def looked(text: str, folder: Path) -> dict[str, Any]:
    """What a browser sees of the page at every width, light, dark and as printed; each in a frame of that width."""
    assert CHROMIUM is not None
    frames = []
    for mode, (old, new) in MODES.items():
        (folder / f"{mode}.html").write_text(text.replace(old, new))
    on_paper = text.replace("@media print", "@media all").replace("@media screen", "@media not all")
    (folder / "paper.html").write_text(on_paper)
    for mode, width in FRAMES:
        frames.append(
            f'<iframe id="{mode}-{width}" src="{mode}.html" style="width:{width}px;height:900px;border:0"></iframe>'
        )
    (folder / "all.html").write_text(f"<!doctype html><title>x</title><script>{PROBE}</script>{''.join(frames)}")
    flags = ["--headless", "--no-sandbox", "--disable-gpu", "--enable-logging=stderr", "--allow-file-access-from-files"]
    flags += [f"--user-data-dir={folder / 'profile'}", "--virtual-time-budget=4000", "--dump-dom"]
    seen = subprocess.run(
        [CHROMIUM, *flags, f"file://{folder / 'all.html'}"],
        capture_output=True,
        text=True,
        timeout=3600,
        check=True,
        env={**os.environ, "HOME": str(folder)},
    )
    assert "CONSOLE" not in seen.stderr, seen.stderr[-2000:]
    (told,) = re.findall(r"<title>SAID(.*?)</title>", seen.stdout)
    return dict(json.loads(html.unescape(told)))


def seen_whole(said: dict[str, Any]) -> None:
    """Nothing is cut, spills, or is too pale to read, in any frame."""
    for mode, width in FRAMES:
        frame = said[f"{mode}-{width}"]
        assert frame["inner"] == width
        assert frame["wide"] <= width, mode
        assert frame["cut"] == [], (mode, width)
        assert frame["pale"] == [], (mode, width)
