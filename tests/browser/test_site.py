"""The documentation as a site, as somebody reads it: without the network."""

from __future__ import annotations

import html
import re
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.browser.chromium import Browser, browser
from tests.browser.test_report import _CONTRAST
from tests.tree import ROOT

PAGES = ("index.html", "quick-start.html", "concepts.html", "troubleshooting.html",
         "comparison.html", "fleet.html", "man/sockreg.8.html", "benchmarks.html")  # fmt: skip
_TOO_WIDE = """
const scrolls = (it) => it.closest('.md-typeset__scrollwrap, pre, .md-tabs, .md-search') !== null;
return [...document.querySelectorAll('article *')].filter(
    (it) => !scrolls(it) && it.getBoundingClientRect().right > window.innerWidth + 1
).map((it) => it.outerHTML.slice(0, 80));
"""
_BROKEN_PICTURES = """
return [...document.images].filter((it) => !it.complete || !it.naturalWidth).map((it) => it.src);
"""
_SEARCH = """
const field = document.querySelector('[data-md-component=search-query]');
field.focus();
field.value = 'sticky';
field.dispatchEvent(new KeyboardEvent('keyup', {bubbles: true}));
"""
_FOUND = "return [...document.querySelectorAll('.md-search-result__item a')].map((it) => it.href)"
# What a page loads by itself; links that a reader follows are none of it.
_LOADED = re.compile(r"<(?:script|img|link|iframe)\b[^>]*?\b(?:src|href)=\"?([^\"\s>]+)")


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    target = tmp_path_factory.mktemp("site")
    python = ROOT / ".venv/apart/site/bin/python"
    subprocess.run([python, ROOT / "units/site/build.py", target], check=True)
    return target


@pytest.fixture
def opened(tmp_path: Path) -> Iterator[Browser]:
    with browser(tmp_path) as fresh:
        yield fresh


def test_pages_take_nothing_from_elsewhere_and_lead_somewhere(site: Path) -> None:
    pages = list(site.rglob("*.html"))
    assert len(pages) > 30
    for page in pages:
        text = page.read_text()
        taken = [it for it in _LOADED.findall(text) if it.startswith(("http:", "https:", "//"))]
        assert taken == [], page
        if page.name == "404.html":  # its links are those of a server
            continue
        for written in re.findall(r"<a\b[^>]*?\bhref=\"?([^\"\s>]+)", text):
            target = html.unescape(written)
            path, _, anchor = target.partition("#")
            if re.match(r"[a-z]+:", target):
                continue
            there = (page.parent / path).resolve() if path else page
            if there.is_dir():
                there /= "index.html"
            assert there.exists(), (page, target)
            if anchor and there.suffix == ".html":
                named = re.search(rf"\bid=\"?{re.escape(anchor)}[\"\s>]", there.read_text())
                assert named or anchor == "__top", (page, target)


@pytest.mark.parametrize("dark", [False, True])
def test_pages_fit_and_can_be_read(site: Path, opened: Browser, dark: bool) -> None:
    for name in PAGES:
        for width in (390, 1280):
            opened.emulate(width, 900, dark=dark)
            opened.open(site / name)
            assert opened.run(_TOO_WIDE) == [], (name, width)
            assert opened.run("return document.documentElement.scrollWidth") <= width
            assert opened.run(_BROKEN_PICTURES) == []
    paper = opened.run("return getComputedStyle(document.body).backgroundColor")
    assert (paper != "rgb(255, 255, 255)") == dark
    assert opened.run(_CONTRAST) >= 4.5, "WCAG 2, level AA"
    assert opened.log() == []


def test_search_works_from_files(site: Path, opened: Browser) -> None:
    opened.emulate(1280, 900)
    opened.open(site / "man/sockreg.8.html")
    deadline = time.monotonic() + 60
    while not (found := opened.run(_FOUND)):
        assert time.monotonic() < deadline, opened.log()
        opened.run(_SEARCH)
        time.sleep(0.5)
    assert any("flows.html" in it for it in found)
    opened.open(Path(re.sub(r"^file://|[?#].*", "", found[0])))
    assert opened.log() == []
