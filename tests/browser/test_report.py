"""``sockreg report`` as somebody reads it: on a screen, on a phone, in the dark, on paper."""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.browser.chromium import Browser, browser
from tests.kernel.conftest import bpffs_path, host, namespace
from tests.kernel.host import Host
from tests.kernel.test_hostile_names import LABEL, named

__all__ = ["bpffs_path", "host", "named", "namespace"]

# Elements that reach beyond the window and do not scroll by themselves.
_TOO_WIDE = """
const scrolls = (it) => it.closest('.wide') !== null;
return [...document.querySelectorAll('body *')].filter(
    (it) => !scrolls(it) && it.getBoundingClientRect().right > window.innerWidth + 1
).map((it) => it.outerHTML.slice(0, 80));
"""
_CONTRAST = """
const channel = (c) => { c /= 255; return c <= .04045 ? c / 12.92 : ((c + .055) / 1.055) ** 2.4; };
const light = (text) => { const [r, g, b] = text.match(/[0-9.]+/g).map(Number);
    return .2126 * channel(r) + .7152 * channel(g) + .0722 * channel(b); };
const paper = (it) => { for (; it; it = it.parentElement) {
    const colour = getComputedStyle(it).backgroundColor;
    if (!/, 0\\)$/.test(colour)) return colour; } return 'rgb(255, 255, 255)'; };
return Math.min(...[...document.querySelectorAll('p, b, code, td, th, h1, h2, li')].map((it) => {
    const [one, other] = [light(getComputedStyle(it).color), light(paper(it))];
    return (Math.max(one, other) + .05) / (Math.min(one, other) + .05); }));
"""


@pytest.fixture
def opened(tmp_path: Path) -> Iterator[Browser]:
    assert shutil.which("chromedriver"), "make setup FOR=browser installs it"
    with browser(tmp_path) as fresh:
        yield fresh


@pytest.mark.parametrize("dark", [False, True])
def test_the_page_fits_and_can_be_read(
    named: Host, opened: Browser, tmp_path: Path, dark: bool
) -> None:
    page = tmp_path / "report.html"
    named.ok("report", "--output", str(page))
    for width in (390, 1280):
        opened.emulate(width, 900, dark=dark)
        opened.open(page)
        assert opened.run(_TOO_WIDE) == [], width
        assert opened.run("return document.documentElement.scrollWidth") <= width
        assert opened.run(_CONTRAST) >= 4.5, "WCAG 2, level AA"
        shown = str(opened.run("return document.body.innerText"))
        assert "What check finds" in shown
        assert LABEL in shown
        assert opened.run("return document.querySelector('img').naturalWidth") > 300
        assert opened.screenshot().startswith(b"\x89PNG")
    assert opened.run("return document.querySelectorAll('script').length") == 0
    assert opened.run("return performance.getEntriesByType('resource').filter("
                      "(it) => !it.name.startsWith('data:')).length") == 0  # fmt: skip
    assert opened.log() == []


def test_the_page_can_be_printed(named: Host, opened: Browser, tmp_path: Path) -> None:
    page = tmp_path / "report.html"
    named.ok("report", "--output", str(page))
    opened.open(page)
    paper = opened.pdf()
    assert paper.startswith(b"%PDF")
    assert len(re.findall(rb"/Type\s*/Page\b", paper)) >= 1
