"""Typing errors on a real systemd: what is served stays served."""

from __future__ import annotations

import pytest

from sockreg.errors import EXIT_REFUSED, EXIT_USAGE
from tests.sandbox import Sandbox
from tests.systemd.conftest import MakeBox
from tests.systemd.units import messages, web


def served_box(make_box: MakeBox) -> Sandbox:
    box = make_box(files={**web(), "/srv/blue/etc/hostname": "blue\n"})
    box.systemctl("enable", "--now", "sockreg@web.service")
    return box


def served_by(box: Sandbox) -> str:
    return box.ask("127.0.0.1", 80).split()[0]


def test_a_root_that_is_not_there_or_not_the_hosts(make_box: MakeBox) -> None:
    box = served_box(make_box)
    for words in (["apply"], ["bind", "web", "tcp", "192.0.2.0/24", "81"], ["check"]):
        done = box.run(["sockreg", "--root", "/nonexistent", *words], check=False)
        assert done.returncode == EXIT_USAGE
        assert "--root /nonexistent: No such file or directory" in done.stderr
        done = box.run(["sockreg", "--root", "/srv/blue", *words], check=False)
        assert done.returncode == EXIT_REFUSED
        assert "another root than /, below which" in done.stderr
    assert box.run(["ls", "/nonexistent"], check=False).returncode != 0
    assert served_by(box) == "web"


@pytest.mark.long
def test_units_and_shells_see_the_same_root(make_box: MakeBox) -> None:
    """The units are in mount namespaces of their own."""
    box = served_box(make_box)
    box.run(["sockreg", "bind", "web", "tcp", "192.0.2.0/24", "81"])
    box.run(["sockreg", "--root", "/srv/blue/../..", "apply"])
    box.systemctl("reload", "sockreg.service")
    box.systemctl("restart", "sockreg@web.service")
    box.run(["sockreg", "unbind", "web", "tcp", "192.0.2.0/24", "81"])
    box.systemctl("restart", "sockreg.service")
    box.run(["sockreg", "apply"])
    assert served_by(box) == "web"


def test_a_unit_does_not_replace_the_rules_of_another_root(make_box: MakeBox) -> None:
    box = make_box(files={**web(), "/srv/blue/etc/hostname": "blue\n"})
    box.run(["sockreg", "--root", "/srv/blue", "load"])
    box.systemctl("start", "sockreg@web.service", check=False)
    refused = [text for text in messages(box, "-p", "err") if "another root than" in text]
    assert refused
    assert "--root /: another root than /srv/blue" in refused[0]
