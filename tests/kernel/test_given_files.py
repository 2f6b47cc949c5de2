"""``apply --put`` and ``--remove``: conf files that are written in the same step as their rules."""

from __future__ import annotations

from pathlib import Path

import pytest

from sockreg.errors import EXIT_CONFIG, EXIT_FAILURE, EXIT_USAGE
from tests.kernel.host import Host
from tests.kernel.test_queues import wait_until

WEB = ["[web]", "Bind=tcp 192.0.2.0/24 80"]


@pytest.fixture
def given(host: Host) -> Path:
    """What is given; the file of the host steers port 80 of 192.0.2.0/24."""
    host.load(*WEB)
    return host.root / "given"


def test_the_file_and_its_rules_come_in_one_step_or_not_at_all(host: Host, given: Path) -> None:
    path = host.root / "etc/sockreg/more.conf"
    put = ["--put", str(path), str(given)]
    with host.serve("web", "127.0.0.1", 8080):
        given.write_text("[web]\nBind=tcp 192.0.2.9 443\n")
        assert "+ bind web: tcp 192.0.2.9 443" in host.ok("apply", "--check", *put)
        assert not path.exists()
        assert host.ask("192.0.2.9", 443) == "refused"
        host.ok("apply", *put)
        assert path.read_text() == given.read_text()
        assert host.ask("192.0.2.9", 443) == "web"
        given.write_text("[web]\nBind=tcp 192.0.2.9 444\nBind=tcp nonsense 80\n")
        for check in ([], ["--check"], ["--confirm", "60"]):
            assert f"{path}:3" in host.fails(EXIT_CONFIG, "apply", *check, *put)
        assert path.read_text() == "[web]\nBind=tcp 192.0.2.9 443\n"
        assert host.ask("192.0.2.9", 443) == "web"
        assert "- bind web: tcp 192.0.2.9 443" in host.ok("apply", "--remove", str(path))
        assert not path.exists()
        assert host.ask("192.0.2.9", 443) == "refused"
        assert host.ask("192.0.2.9", 80) == "web"


def test_a_file_that_changes_no_rule_is_written_all_the_same(host: Host, given: Path) -> None:
    path = host.root / "etc/sockreg/rules.conf"
    given.write_text("# with a comment\n[web]\nBind=tcp 192.0.2.0/24 80\n")
    host.ok("apply", "--put", str(path), str(given))
    assert path.read_text() == given.read_text()


def test_several_files_count_together(host: Host, given: Path) -> None:
    """A rule that moves from one file to another would tie with itself in between."""
    rules, other = host.root / "etc/sockreg/rules.conf", host.root / "etc/sockreg/other.conf"
    given.write_text("[other]\nBind=tcp 192.0.2.0/24 80\n")
    host.fails(EXIT_CONFIG, "apply", "--put", str(other), str(given))
    host.ok("apply", "--put", str(other), str(given), "--remove", str(rules))
    assert (rules.exists(), other.exists()) == (False, True)
    assert "bind    other" in host.ok("rules")


def test_an_empty_file_hides_one_of_the_vendor(host: Host, given: Path) -> None:
    vendor = host.root / "usr/lib/sockreg/rules.conf"
    vendor.parent.mkdir(parents=True)
    vendor.write_text("[web]\nBind=tcp 192.0.2.0/24 81\n")
    given.write_text("")
    rules = host.root / "etc/sockreg/rules.conf"
    assert "- bind web" in host.ok("apply", "--put", str(rules), str(given))
    assert "+ bind web: tcp 192.0.2.0/24 81" in host.ok("apply", "--remove", str(rules))


def test_the_files_of_a_trial_go_back_with_its_rules(host: Host, given: Path) -> None:
    """By itself or by a command, and after several changes to what was there before the first."""
    rules, more = host.root / "etc/sockreg/rules.conf", host.root / "etc/sockreg/more.conf"
    before = rules.read_text()
    put = ["--put", str(rules), str(given), "--put", str(more), str(given)]
    for end in ("rollback", ""):
        given.write_text("[web]\nBind=tcp 192.0.2.9 443\n")
        host.ok("apply", "--confirm", "60", *put)
        given.write_text("[web]\nBind=tcp 192.0.2.9 444\n")
        host.ok("apply", "--confirm", "60" if end else "1", *put)
        given.write_text("nonsense\n")
        host.fails(EXIT_CONFIG, "apply", "--confirm", "60", *put)
        assert "444" in more.read_text()
        if end:
            host.ok(end)
        wait_until(lambda: rules.read_text() == before and not more.exists())
        wait_until(lambda: "444" not in host.ok("rules"))
        wait_until(lambda: "nothing to change" in host.ok("apply"))
    assert not (host.root / "var/lib/sockreg/trial").exists()


def test_files_of_a_trial_that_others_have_changed_stay(host: Host, given: Path) -> None:
    rules, more = host.root / "etc/sockreg/rules.conf", host.root / "etc/sockreg/more.conf"
    given.write_text("[web]\nBind=tcp 192.0.2.9 443\n")
    put = ["--put", str(rules), str(given), "--put", str(more), str(given)]
    host.ok("apply", "--confirm", "60", *put)
    more.write_text("# edited\n")
    host.ok("rollback")
    assert more.read_text() == "# edited\n"
    assert rules.read_text() == "\n".join(WEB) + "\n"


def test_a_confirmed_trial_keeps_its_files(host: Host, given: Path) -> None:
    more = host.root / "etc/sockreg/more.conf"
    given.write_text("[web]\nBind=tcp 192.0.2.9 443\n")
    host.ok("apply", "--confirm", "60", "--put", str(more), str(given))
    host.ok("confirm")
    host.ok("rollback")  # no trial any more: the file is that of the operator
    assert more.exists()
    assert "+ bind web: tcp 192.0.2.9 443" in host.ok("apply")


def test_a_trial_that_ends_with_its_registry_is_said(host: Host, given: Path) -> None:
    more = host.root / "etc/sockreg/more.conf"
    given.write_text("[web]\nBind=tcp 192.0.2.9 443\n")
    host.ok("apply", "--confirm", "60", "--put", str(more), str(given))
    host.ok("unload")
    host.ok("load")
    said = [text for entry in host.entries() for text in entry["MESSAGE"]]
    assert [text for text in said if f"nobody has confirmed the trial of what is in {more}" in text]
    host.ok("apply")
    assert not any("nobody has confirmed" in str(entry["MESSAGE"]) for entry in host.entries())


def test_what_cannot_be_meant_is_refused(host: Host, given: Path) -> None:
    given.write_text("")
    conf = host.root / "etc/sockreg/more.conf"
    for path in ("more.conf", "/etc/sockreg/more.conf", conf.with_name("more"), conf.parent / "..",
                 conf.with_name(".more.conf"), conf.parent / "below/more.conf"):  # fmt: skip
        said = host.fails(EXIT_USAGE, "apply", "--put", str(path), str(given))
        assert f"no rules are read from {path}" in said
        assert str(conf.parent) in said
    both = ["--put", str(conf), str(given), "--remove", str(conf)]
    assert "given twice" in host.fails(EXIT_USAGE, "apply", *both)
    assert "cannot be read" in host.fails(
        EXIT_FAILURE, "apply", "--put", str(conf), f"{given}-is-not-there"
    )
    host.fails(EXIT_USAGE, "apply", "--interfaces", "--remove", str(conf))
    conf.symlink_to(given)
    assert "symbolic link" in host.fails(EXIT_CONFIG, "apply", "--put", str(conf), str(given))
