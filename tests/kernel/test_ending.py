"""Rules that end by themselves: ``bind --for`` and ``until=`` in files."""

from __future__ import annotations

import os
import re
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from sockreg.api import open_registry
from sockreg.errors import EXIT_CONFIG, EXIT_OK, EXIT_USAGE
from sockreg.rules.ending import format_end
from sockreg.systemd import journal
from sockreg.views.top import lines
from tests.kernel.dying import deaths
from tests.kernel.host import Host

PERSISTENT = "etc/sockreg/90-bind.conf"


@pytest.fixture
def served(host: Host) -> Iterator[Host]:
    """``usual`` has the prefix; ``help`` has a socket."""
    host.load("[usual]", "Bind=tcp 192.0.2.0/24 80")
    usual = host.namespace.serve("usual", "127.0.0.1", 8080)
    help_ = host.namespace.serve("help", "127.0.0.1", 8081)
    with usual, help_:
        assert host.register([("usual", usual.sock), ("help", help_.sock)]).status == EXIT_OK
        yield host
        host.ok("unload")
        kill_waiting(host)  # it would end by itself


def wait_until(condition: Callable[[], object]) -> None:
    deadline = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def waiting(host: Host) -> list[int]:
    """The processes that wait for the end of a rule."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            words = path.read_bytes().split(b"\0")
        except OSError:
            continue
        if b"--ended" in words and os.fsencode(host.root) in words:
            found.append(int(path.parent.name))
    return found


def kill_waiting(host: Host) -> None:
    pids = waiting(host)
    for pid in pids:
        os.kill(pid, signal.SIGKILL)
    wait_until(lambda: not {*pids} & {*waiting(host)})


def lands(host: Host, label: str, address: str = "192.0.2.7") -> None:
    wait_until(lambda: host.ask(address, 80) == label)


def until(seconds: float) -> str:
    return format_end(int(time.time() + seconds))


def test_it_goes_by_itself(served: Host) -> None:
    told = served.ok("bind", "help", "tcp", "192.0.2.7", "80", "--for", "3s")
    assert "+ bind help: tcp 192.0.2.7 80" in told
    assert "this ends by itself in " in told
    assert served.ask("192.0.2.7", 80) == "help"
    ending, lasting = (
        next(rule for rule in served.json("rules") if rule["label"] == label)
        for label in ("help", "usual")
    )
    assert 0 < ending["seconds_left"] <= 4
    assert (lasting["until"], lasting["seconds_left"]) == (None, None)
    line = f"Bind=tcp 192.0.2.7 80 until={ending['until']}\n"
    assert line in (served.root / PERSISTENT).read_text()
    assert "the rule ends in " in served.ok("explain", "tcp", "192.0.2.7", "80")
    assert "ends in" not in served.ok("explain", "tcp", "192.0.2.8", "80")
    (of_status,) = served.json("status")["ending"]
    assert (of_status["label"], of_status["until"]) == ("help", ending["until"])
    # What somebody has begun to edit must not come into force when a rule ends.
    served.conf("[usual]", "Bind=tcp 192.0.2.0/24 81")
    lands(served, "usual")
    assert [rule["rule"] for rule in served.json("rules")] == ["tcp 192.0.2.0/24 80"]
    assert served.json("status")["ending"] == []
    # The line is skipped, and goes with the next change of the file.
    served.ok("apply")
    assert served.ask("192.0.2.7", 80) == "refused"
    assert line in (served.root / PERSISTENT).read_text()
    served.ok("bind", "usual", "tcp", "192.0.2.9", "80")
    assert line not in (served.root / PERSISTENT).read_text()


def test_several_in_one_file_end_one_after_the_other(served: Host) -> None:
    served.ok("bind", "help", "tcp", "192.0.2.1", "80")
    served.ok("bind", "help", "tcp", "192.0.2.2", "80", "--for", "5")
    served.ok("bind", "help", "tcp", "192.0.2.3", "80,81", "--for", "2")
    served.ok("unbind", "help", "tcp", "192.0.2.3", "81")
    assert len(waiting(served)) >= 1
    lands(served, "usual", "192.0.2.3")
    assert served.ask("192.0.2.2", 80) == "help"
    lands(served, "usual", "192.0.2.2")
    assert served.ask("192.0.2.1", 80) == "help"


@pytest.fixture
def later(monkeypatch: pytest.MonkeyPatch) -> Callable[[float], None]:
    """Sets the wall clock of commands forward: those that run in this process."""
    real = time.time
    return lambda seconds: monkeypatch.setattr(time, "time", lambda: real() + seconds)


def test_it_heals_if_what_waits_is_killed(served: Host, later: Callable[[float], None]) -> None:
    served.ok("bind", "help", "tcp", "192.0.2.7", "80", "--for", "1h")
    wait_until(lambda: waiting(served))
    kill_waiting(served)
    # Any apply starts another one.
    assert "nothing to change" in served.ok("apply")
    wait_until(lambda: waiting(served))
    kill_waiting(served)
    later(3000)
    assert "ends in" in served.ok("status")
    later(3602)
    assert "has ended, but is in force" in served.ok("status")
    assert served.ask("192.0.2.7", 80) == "help"
    assert "ended" in served.ok("rules")
    assert "- bind help: tcp 192.0.2.7 80" in served.ok("apply", "--check")
    served.ok("apply")
    (entry,) = (e for e in served.entries() if e["MESSAGE_ID"] == [journal.ENDED])
    assert entry["SOCKREG_RULE"] == ["tcp 192.0.2.7 80"]
    assert entry["SOCKREG_LABEL"] == ["help"]
    assert "has ended: its time was 20" in entry["MESSAGE"][0]
    assert served.ask("192.0.2.7", 80) == "usual"


def test_a_death_leaves_the_rules_before_or_after(
    served: Host, later: Callable[[float], None]
) -> None:
    bind = ("bind", "help", "tcp", "192.0.2.7", "80", "--for", "1h")
    served.ok(*bind)
    seen = set()

    def end() -> None:
        later(3602)
        served.ok("apply", "--ended", "1")

    for _ in deaths(end):
        seen.add(served.ask("192.0.2.7", 80))
        end()
        assert served.ask("192.0.2.7", 80) == "usual"
        assert [rule["label"] for rule in served.json("rules")] == ["usual"]
        later(0)
        served.ok(*bind)
        assert served.ask("192.0.2.7", 80) == "help"
    assert seen == {"help", "usual"}


def test_unbind_and_a_rollback(served: Host, later: Callable[[float], None]) -> None:
    served.ok("bind", "help", "tcp", "192.0.2.7", "80", "--for", "1h")
    served.ok("unbind", "help", "tcp", "192.0.2.7", "80")
    assert served.ask("192.0.2.7", 80) == "usual"
    assert not (served.root / PERSISTENT).exists()
    assert served.json("status")["ending"] == []
    wait_until(lambda: not waiting(served))
    # A generation with a rule that has ended does not come back with it.
    served.ok("bind", "help", "tcp", "192.0.2.7", "80", "--for", "1h")
    served.ok("bind", "help", "tcp", "192.0.2.8", "80")
    later(3602)
    served.ok("apply")
    served.ok("rollback")
    assert served.ask("192.0.2.7", 80) == "usual"
    assert served.ask("192.0.2.8", 80) == "help"


def test_a_load_skips_what_has_ended(served: Host, later: Callable[[float], None]) -> None:
    state = str(served.root / "state")
    served.ok("unload")
    served.ok("load", "--state", state)
    path = served.conf(
        "[help]",
        "Bind=tcp 192.0.2.6 80",
        f"Bind=tcp 192.0.2.7 80 {until(60)}",
        f"Reject=tcp 192.0.2.5 80 {until(6000)}",
        name="50-more.conf",
    )
    served.ok("apply")
    assert {rule["label"] for rule in served.json("status")["ending"]} == {"help"}
    # The rules of the last boot are known, and one of them has ended since.
    served.ok("unload")
    later(100)
    path.write_text("[help]\nBind=nonsense\n")
    served.ok("load", "--state", state)
    rules = [rule["rule"] for rule in served.json("rules") if rule["label"] == "help"]
    assert rules == ["tcp 192.0.2.6 80", "tcp 192.0.2.5 80"]
    assert len(served.json("status")["ending"]) == 1


def test_a_rule_that_lasts_is_not_lost_to_one_that_ends(
    served: Host, later: Callable[[float], None]
) -> None:
    rule = ("tcp", "192.0.2.7", "80")
    served.ok("bind", "help", *rule)
    assert "has no end" in served.fails(EXIT_CONFIG, "bind", "help", *rule, "--for", "1h")
    refused = served.fails(EXIT_CONFIG, "bind", "--replace", "usual", *rule, "--for", "1h")
    assert "would not come back" in refused
    assert served.ask("192.0.2.7", 80) == "help"
    # A narrower one does both.
    served.ok("bind", "help", "tcp", "192.0.2.8/30", "80")
    wide = ("tcp", "192.0.2.8/30", "80")
    hint = served.fails(EXIT_CONFIG, "bind", "--replace", "usual", *wide, "--for", "1h")
    assert "name fewer addresses" in hint
    served.ok("bind", "usual", "tcp", "192.0.2.9", "80", "--for", "1h")
    assert served.ask("192.0.2.9", 80) == "usual"
    later(3602)
    served.ok("apply")
    assert served.ask("192.0.2.9", 80) == "help"
    later(0)
    served.ok("unbind", "usual", "tcp", "192.0.2.9", "80")
    # A lasting one takes the place of one that ends.
    served.ok("unbind", "help", *rule)
    served.ok("bind", "help", *rule, "--for", "1h")
    served.ok("bind", "help", *rule, "--for", "2h")
    assert served.json("status")["ending"][0]["seconds_left"] > 3600
    assert "90-bind.conf:6 does not end any more" in served.ok("bind", "help", *rule)
    assert served.json("status")["ending"] == []
    # The same rule in two files lasts as long as the one that lasts longer.
    served.conf("[help]", "Bind=tcp 192.0.2.7 80", name="99-later.conf")
    served.ok("unbind", "help", *rule)
    served.ok("bind", "help", *rule, "--for", "2")
    assert served.json("status")["ending"] == []


def test_wrong_words(served: Host) -> None:
    rule = ("bind", "help", "tcp", "192.0.2.7", "80")
    for wrong in ("", "soon", "-1h", "0", "100 years", "infinity", "1h30x", "1e3"):
        assert "expected" in served.fails(EXIT_USAGE, *rule, f"--for={wrong}")
    for wrong in ("until=", "until=2h", "until=2026-11-27 02:00", "until=9999-99-99T00:00:00Z"):
        assert "expected" in served.fails(EXIT_USAGE, *rule, wrong)
    assert "is over" in served.fails(EXIT_USAGE, *rule, "until=2020-01-01T00:00:00Z")
    assert "leave one" in served.fails(EXIT_USAGE, *rule, until(60), "--for", "1h")
    assert "twice" in served.fails(EXIT_USAGE, *rule, until(60), until(61))
    assert not (served.root / PERSISTENT).exists()


def test_top_says_which_rule_ends_next(served: Host) -> None:
    served.ok("bind", "--for", "3h", "help", "tcp", "192.0.2.7", "80")
    with open_registry(
        served.namespace.path, bpffs=str(served.bpffs), root=str(served.root)
    ) as registry:
        shown = [line.text for line in lines(registry.status(), {}, time.time_ns())]
    (told,) = (text for text in shown if "with an end" in text)
    assert re.fullmatch(r"1 rule with an end; the next in (2h 59min|3h).*: bind help: tcp .*", told)
