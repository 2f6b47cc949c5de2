#!/usr/bin/python3
"""Build the documentation as a site, from README.md and docs/, without the network.

    build.py DIRECTORY

Pages keep their text. Links between them, and to files beside them, are written for the places
that they have on the site. The README becomes the first page and the quick start.
"""

from __future__ import annotations

import os
import posixpath
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
HERE = Path(__file__).parent

# Sections of the README that are the quick start; the rest is the first page.
QUICK = ("Try it", "Install", "On a host")
_LINK = re.compile(r"(!?\[(?:[^\[\]]|\[[^\]]*\])*\])\(([^)\s]+)\)")
_FENCE = re.compile(r"^```")
_HEADING = re.compile(r"^(#{1,6}) (.*)$")


def main(target: str) -> int:
    with tempfile.TemporaryDirectory(prefix="sockreg-site-") as directory:
        pages = Path(directory, "pages")
        stage(pages)
        configuration = Path(directory, "mkdocs.yml")
        text = (HERE / "mkdocs.yml").read_text()
        text = text.replace("DOCS_DIR", str(pages)).replace("SITE_DIR", os.path.abspath(target))
        configuration.write_text(text.replace("RECIPES", "\n".join(recipes())))
        command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--clean"]
        # The theme warns of what a later version of mkdocs will do.
        environment = {**os.environ, "NO_MKDOCS_2_WARNING": "1"}
        done = subprocess.run([*command, "-f", str(configuration)], check=False, env=environment)
    return done.returncode


def recipes() -> list[str]:
    """The entries of the navigation for docs/recipes, the page about all of them first."""
    names = sorted(path.name for path in (ROOT / "docs/recipes").glob("*.md"))
    names.sort(key=lambda name: name != "README.md")
    return [f"          - recipes/{name}" for name in names]


def stage(pages: Path) -> None:
    """Write what the site is made of below a directory."""
    sources = [ROOT / "README.md", ROOT / "CHANGELOG.md", ROOT / "SECURITY.md"]
    sources += sorted((ROOT / "docs").rglob("*.md"))
    first, quick = parts((ROOT / "README.md").read_text())
    moved = {heading_slug(name): "quick-start.md" for name in headings(quick)}
    files: set[str] = set()
    for source in sources:
        here = str(source.relative_to(ROOT))
        texts = {place(here): source.read_text()}
        if here == "README.md":
            texts = {"index.md": first, "quick-start.md": quick}
        for name, text in texts.items():
            page = pages / name
            page.parent.mkdir(parents=True, exist_ok=True)
            page.write_text(linked(plain(text), here, name, moved, files))
    for file in sorted(files):
        copy = pages / place(file)
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / file, copy)
    for name in ("iframe-worker.js", "site.css"):
        shutil.copy(HERE / name, pages)


def place(path: str) -> str:
    """Where a file of the tree is on the site."""
    return "index.md" if path == "README.md" else path.removeprefix("docs/")


def parts(readme: str) -> tuple[str, str]:
    """The first page, and the quick start."""
    before, *sections = re.split(r"(?m)^(?=## )", readme)
    quick = [it for it in sections if it.partition("\n")[0].removeprefix("## ") in QUICK]
    assert len(quick) == len(QUICK), "README.md has no section of a name in QUICK any more"
    rest = [it for it in sections if it not in quick]
    return "".join([before, *rest]), "# Quick start\n\n" + "".join(quick)


def headings(text: str) -> list[str]:
    """The headings of a page."""
    found = []
    fenced = False
    for line in text.splitlines():
        fenced ^= bool(_FENCE.match(line))
        if not fenced and (heading := _HEADING.match(line)):
            found.append(heading[2])
    return found


def anchors(text: str) -> set[str]:
    """What links to a page can name: its headings; the second of the same name ends with -1."""
    found: dict[str, int] = {}
    names = set()
    for heading in headings(text):
        slug = heading_slug(heading)
        names.add(f"{slug}-{found[slug]}" if slug in found else slug)
        found[slug] = found.get(slug, 0) + 1
    return names


def heading_slug(heading: str) -> str:
    """The anchor of a heading, as GitHub and the site make it."""
    text = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading).strip().lower()
    return re.sub(r"[^\w\- ]", "", text).replace(" ", "-")


def plain(text: str) -> str:
    """A page as it is, and a manual page with a heading above its sections."""
    first, _, rest = text.partition("\n")
    if not first.startswith("% "):  # which go-md2man reads
        return text
    name, section = first.split()[1:3]
    lines = []
    fenced = False
    for line in rest.splitlines():
        fenced ^= bool(_FENCE.match(line))
        lines.append(f"#{line}" if not fenced and _HEADING.match(line) else line)
    return "\n".join([f"# {name}({section})", *lines, ""])


def title(path: str) -> str:
    """What a page of the tree is called: its first heading."""
    return headings(plain((ROOT / path).read_text()))[0]


def linked(text: str, here: str, name: str, moved: dict[str, str], files: set[str]) -> str:
    """A page with the links of its place on the site; ``files`` gets what they lead to."""

    def link(found: re.Match[str]) -> str:
        words, target = found[1], found[2]
        if re.match(r"[a-z]+:", target):
            return found[0]
        path, mark, anchor = target.partition("#")
        if not path:
            of_readme = here == "README.md" and moved.get(anchor, "index.md") != name
            other = moved.get(anchor, "index.md")
            return f"{words}({other}#{anchor})" if of_readme else found[0]
        path = posixpath.normpath(posixpath.join(posixpath.dirname(here), path))
        there = place(path)
        if path == "README.md" and anchor in moved:
            there = moved[anchor]
        if not path.endswith(".md"):
            files.add(path)
        elif words == f"[{posixpath.basename(path)}]" or words == f"[{path}]":
            words = f"[{title(path)}]"
        relative = posixpath.relpath(there, posixpath.dirname(name) or ".")
        return f"{words}({relative}{mark}{anchor})"

    lines = []
    fenced = False
    # A link may go on over the end of a line, but no fence is in it.
    for block in re.split(r"(?m)^(?=```)", text):
        fence, _, _ = block.partition("\n")
        if fence.startswith("```") and not fenced:
            fenced = True
            lines.append(block)
            continue
        if fenced:
            fenced = False
            lines.append("```" + _LINK.sub(link, block[3:]))
            continue
        lines.append(_LINK.sub(link, block))
    return "".join(lines)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
