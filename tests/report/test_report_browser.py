"""The page in a real browser: it fits a laptop, can be read, asks the network for nothing, and prints."""

from __future__ import annotations

import html
import json
import re
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from matplotlib.image import imread

CHROMIUM = next((p for n in ("chromium", "chromium-browser", "google-chrome") if (p := shutil.which(n))), "")
pytestmark = pytest.mark.skipif(not CHROMIUM, reason="no chromium on the PATH")
FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--hide-scrollbars",
    "--enable-logging=stderr",
)
LOOK = Path(__file__).with_name("look.js")
"""Looks at the page from inside: what overflows, what is too pale to read, what the keyboard reaches."""
Browse = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def browse(tmp_path: Path) -> Browse:
    """Show a page; the browser must not complain."""

    def run(page: Path, *more: str) -> subprocess.CompletedProcess[str]:
        done = subprocess.run(
            [CHROMIUM, *FLAGS, f"--user-data-dir={tmp_path / 'browser'}", *more, page.as_uri()],
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        # What the page itself gives rise to: errors, refused loads.
        complaints = [x for x in done.stderr.splitlines() if "CONSOLE" in x]
        assert complaints == []
        return done

    return run


def _looked_at(browse: Browse, page: Path, folder: Path, width: int) -> dict[str, Any]:
    """What `LOOK` found; its copy of the page may run it, which the page's own policy forbids."""
    text = re.sub(r'<meta http-equiv="Content-Security-Policy"[^>]*>', "", page.read_text(encoding="utf-8"))
    copy = folder / "looked_at.html"
    copy.write_text(text.replace("</body>", f"<script>{LOOK.read_text()}</script></body>"), encoding="utf-8")
    dom = browse(copy, f"--window-size={width},768", "--dump-dom").stdout
    found = re.search(r'<pre id="looked">(.*?)</pre>', dom, re.DOTALL)
    assert found is not None, dom[-500:]
    said: dict[str, Any] = json.loads(html.unescape(found[1]))
    return said


def test_a_laptop_shows_it_whole_and_it_can_be_read(page_file: Path, browse: Browse, tmp_path: Path) -> None:
    found = _looked_at(browse, page_file, tmp_path, 1366)
    assert found["width"] <= 1366, "nothing scrolls sideways"
    assert found["sideways"] == [], "not even a table"
    assert found["pale"] == [], "WCAG AA: 4.5 to 1, large text 3 to 1"
    assert found["small"] == []
    assert found["broken"] == 0, "every picture is shown"
    assert found["pictures"] >= 10
    assert found["texts"] > 300, "there is something to look at"


def test_the_keyboard_reaches_what_can_be_used(page_file: Path, browse: Browse, tmp_path: Path) -> None:
    found = _looked_at(browse, page_file, tmp_path, 1366)
    order = found["focus"]
    assert order[0] == "Skip to the results"
    assert order[1:3] == ["Results", "What was seen"]
    assert found["folded"] > 3
    assert sum(name.startswith("summary:") for name in order) == found["folded"]
    assert found["unnamed"] == []


def test_a_narrow_window_scrolls_tables_not_the_page(page_file: Path, browse: Browse, tmp_path: Path) -> None:
    found = _looked_at(browse, page_file, tmp_path, 640)
    assert found["width"] <= 640


def test_the_picture_of_it_is_not_blank(page_file: Path, browse: Browse, tmp_path: Path) -> None:
    picture = tmp_path / "page.png"
    browse(page_file, "--window-size=1366,2000", f"--screenshot={picture}")
    image = imread(picture)[..., :3]
    assert image.shape[1] == 1366
    rows = image.std(axis=(1, 2))
    assert (rows > 0.02).mean() > 0.3, "lines of text and pictures"
    # The verdict's colour is there: a green that is nothing else's.
    assert ((abs(image - [0x1D / 255, 0x7A / 255, 0x3F / 255]) < 0.02).all(axis=-1)).sum() > 500


def test_it_prints_with_all_that_is_folded(page_file: Path, browse: Browse, tmp_path: Path) -> None:
    paper = tmp_path / "page.pdf"
    browse(page_file, "--no-pdf-header-footer", f"--print-to-pdf={paper}")
    assert 4 <= len(re.findall(rb"/Type\s*/Page\b", paper.read_bytes())) <= 30
    if shutil.which("pdftotext"):
        command = ["pdftotext", "-layout", str(paper), "-"]
        text = subprocess.run(command, capture_output=True, text=True, check=True).stdout
        for words in ("Deaths by condition", "Every check", "cells: one row a label", "For the next run"):
            assert words in text
