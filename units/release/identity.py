#!/usr/bin/python3
"""Carry who maintains sockreg, and where, from pyproject.toml to all files that say it.

    identity.py [--check]

With --check it changes nothing, and fails if a file says something else.
"""

from __future__ import annotations

import re
import sys
import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def _places(project: dict[str, object]) -> dict[str, list[tuple[str, str]]]:
    """For each file the patterns that must match, and what replaces their first match."""
    ((name, email),) = ((it["name"], it["email"]) for it in project["maintainers"])  # type: ignore[attr-defined]
    urls: dict[str, str] = project["urls"]  # type: ignore[assignment]
    maintainer = f"{name} <{email}>"
    home, repository, issues = urls["Homepage"], urls["Repository"], urls["Issues"]
    return {
        "SECURITY.md": [(r"<[^<>\s]+@[^<>\s]+>", f"<{email}>")],
        ".github/ISSUE_TEMPLATE/config.yml": [(r"mailto:\S+", f"mailto:{email}")],
        "docs/CONTRIBUTING.md": [(r"\[issues\]\(\S+\)", f"[issues]({issues})")],
        "units/ansible/galaxy.yml": [
            (r"(?m)^  - .* <.*>", f"  - {maintainer}"),
            (r"(?m)^repository: .*", f"repository: {repository}"),
            (r"(?m)^documentation: .*", f"documentation: {home}"),
            (r"(?m)^homepage: .*", f"homepage: {home}"),
            (r"(?m)^issues: .*", f"issues: {issues}"),
        ],
        "units/debian/changelog": [(r"(?m)^ -- .* <.*>", f" -- {maintainer}")],
        "units/debian/control": [
            (r"(?m)^Maintainer: .*", f"Maintainer: {maintainer}"),
            (r"(?m)^Homepage: .*", f"Homepage: {home}"),
            (r"(?m)^Vcs-Browser: .*", f"Vcs-Browser: {home}"),
            (r"(?m)^Vcs-Git: .*", f"Vcs-Git: {repository}"),
        ],
        "units/debian/copyright": [
            (r"(?m)^Upstream-Contact: .*", f"Upstream-Contact: {maintainer}"),
            (r"(?m)^Source: .*", f"Source: {home}"),
        ],
        "units/debian/upstream/metadata": [
            (r"(?m)^Bug-Database: .*", f"Bug-Database: {issues}"),
            (r"(?m)^Bug-Submit: .*", f"Bug-Submit: {issues}/new"),
            (r"(?m)^Repository: .*", f"Repository: {repository}"),
            (r"(?m)^Repository-Browse: .*", f"Repository-Browse: {home}"),
        ],
        "units/rpm/sockreg.spec": [
            (r"(?m)^URL: .*", f"URL:            {home}"),
            (r"(?m)^(\* \w+ \w+ \d+ \d+) .* - ", rf"\1 {maintainer} - "),
        ],
        "units/debian/watch": [(r"(?m)^https://\S*/tags", f"{home}/tags")],
    }


def main(arguments: list[str]) -> int:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    status = 0
    for name, replacements in _places(project).items():
        before = text = (ROOT / name).read_text()
        for pattern, new in replacements:
            text, count = re.subn(pattern, new, text, count=1)
            if count == 0:
                print(f"identity: {name} has nothing like {pattern}", file=sys.stderr)
                status = 1
        if text != before and "--check" in arguments:
            print(f"identity: {name} differs from pyproject.toml; run identity.py", file=sys.stderr)
            status = 1
        elif text != before:
            (ROOT / name).write_text(text)
            print(f"identity: {name} is changed")
    return status


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
