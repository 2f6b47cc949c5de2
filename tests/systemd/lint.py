"""What check finds in a box, and doing what it says."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from typing import Any

from tests.sandbox import Sandbox
from tests.systemd.units import UNITS


def kinds(box: Sandbox, *arguments: str) -> list[str]:
    """The kinds of all findings, the gravest first."""
    done = box.run(["sockreg", "--json", "check", *arguments], check=False)
    findings: list[dict[str, Any]] = json.loads(done.stdout)["findings"]
    return [finding["check"] for finding in findings]


def follow(box: Sandbox, kind: str) -> None:
    """Run the command of a finding's fix, as it is printed."""
    done = box.run(["sockreg", "--json", "check"], check=False)
    (fix,) = [
        finding["fix"]
        for finding in json.loads(done.stdout)["findings"]
        if finding["check"] == kind
    ]
    command = re.match(r"systemctl [^;:,]*", fix)
    assert command, fix
    box.run(["sh", "-c", command[0]])


def edit_listen_line(box: Sandbox, listen: str, before: Sequence[str] = ()) -> None:
    """Change where web.socket listens while its server runs, and do what check says.

    ``before`` are the kinds of other findings, which remain.
    """
    box.ask("127.0.0.2", 80)
    unit = box.run(["cat", f"{UNITS}/web.socket"]).stdout
    box.write(f"{UNITS}/web.socket", unit.replace("127.0.0.1:8080", listen))
    assert sorted(kinds(box)) == sorted(["not-listening", *before])
    follow(box, "not-listening")
    assert kinds(box) == [*before]
