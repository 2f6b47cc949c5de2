"""``bind --replace``: a rule gets another label in one step, and what was replaced is said."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator

import pytest

from sockreg.errors import EXIT_CONFIG, EXIT_OK, EXIT_REFUSED, EXIT_USAGE
from tests.kernel.dying import deaths
from tests.kernel.host import Host
from tests.netns import UDP

RULE = ("tcp", "192.0.2.0/24", "80")
PERSISTENT = "etc/sockreg/90-bind.conf"
RUNTIME = "run/sockreg/91-bind-runtime.conf"


@pytest.fixture
def served(host: Host) -> Iterator[Host]:
    """Labels ``old`` and ``new`` have a socket each, and a rule leads to ``old``."""
    host.load()
    old = host.namespace.serve("old", "127.0.0.1", 8080)
    new = host.namespace.serve("new", "127.0.0.1", 8081)
    with old, new:
        assert host.register([("old", old.sock), ("new", new.sock)]).status == EXIT_OK
        yield host


def labels(host: Host) -> list[tuple[str, str]]:
    return [(rule["label"], rule["rule"]) for rule in host.json("rules")]


def test_the_rule_leads_to_the_other_label(served: Host) -> None:
    served.ok("bind", "old", *RULE)
    assert served.ask("192.0.2.7", 80) == "old"
    path = served.root / PERSISTENT
    told = served.ok("bind", "--replace", "new", *RULE)
    messages = [entry["MESSAGE"][0] for entry in served.entries()]
    assert served.ask("192.0.2.7", 80) == "new"
    assert f"Bind=tcp 192.0.2.0/24 80 (old) of {path}:5 is replaced\n" in told
    assert "+ bind new: tcp 192.0.2.0/24 80\n- bind old: tcp 192.0.2.0/24 80\n" in told
    assert "(1 added, 1 removed)" in told
    assert labels(served) == [("new", "tcp 192.0.2.0/24 80")]
    assert "[old]" not in path.read_text()
    assert f"Bind=tcp 192.0.2.0/24 80 (old) of {path}:5 is replaced" in messages
    # It is one generation: a rollback brings the old label back.
    served.ok("rollback")
    assert served.ask("192.0.2.7", 80) == "old"


def test_without_it_a_tie_is_refused_and_with_nothing_to_replace_it_is_a_bind(served: Host) -> None:
    told = served.ok("bind", "--replace", "old", *RULE)
    assert "replaced" not in told
    assert "ties with" in served.fails(EXIT_CONFIG, "bind", "new", *RULE)
    assert served.ask("192.0.2.7", 80) == "old"
    assert "nothing to change" in served.ok("bind", "--replace", "old", *RULE)


def test_no_client_is_refused_meanwhile(served: Host) -> None:
    served.ok("bind", "old", *RULE)
    stop = threading.Event()
    answers: list[str] = []

    def ask() -> None:
        while not stop.is_set():
            answers.append(served.ask("192.0.2.7", 80))

    asker = threading.Thread(target=ask)
    asker.start()
    try:
        for label in ("new", "old") * 10:
            served.ok("bind", "--replace", label, *RULE)
    finally:
        stop.set()
        asker.join()
    assert set(answers) <= {"old", "new"}
    assert answers


def test_only_rules_for_exactly_the_same_packets_are_replaced(served: Host) -> None:
    served.ok("bind", "old", "tcp", "192.0.2.0/24", "80,81")
    served.ok("bind", "old", "udp", "192.0.2.0/24", "80")
    served.ok("bind", "old", "tcp", "192.0.2.0/24", "80", "from", "198.51.100.0/24")
    served.ok("bind", "old", "tcp", "192.0.2.0/24", "80", "dev", "lo")
    served.ok("bind", "old", "tcp", "192.0.2.0/25", "80")
    served.ok("bind", "--replace", "new", *RULE)
    assert sorted(labels(served)) == [
        ("new", "tcp 192.0.2.0/24 80"),
        ("old", "tcp 192.0.2.0/24 80 dev lo"),
        ("old", "tcp 192.0.2.0/24 80 from 198.51.100.0/24"),
        ("old", "tcp 192.0.2.0/24 81"),
        ("old", "tcp 192.0.2.0/25 80"),
        ("old", "udp 192.0.2.0/24 80"),
    ]
    assert served.ask("192.0.2.7", 80, UDP) == "refused"


def test_each_port_of_a_list_and_several_labels(served: Host) -> None:
    served.ok("bind", "old", "tcp", "192.0.2.7", "80,81")
    served.ok("bind", "third", "tcp", "192.0.2.7", "82")
    told = served.ok("bind", "--replace", "new", "tcp", "192.0.2.7", "81,82,83")
    assert told.count("is replaced") == 2
    for port, answer in ((80, "old"), (81, "new"), (82, "new"), (83, "new")):
        assert served.ask("192.0.2.7", port) == answer


def test_words_that_need_not_be_repeated(served: Host) -> None:
    served.ok("bind", "old", *RULE, "missing=pass")
    told = served.ok("bind", "--replace", "new", *RULE)
    assert "Bind=tcp 192.0.2.0/24 80 missing=pass (old)" in told
    assert labels(served) == [("new", "tcp 192.0.2.0/24 80")]
    # A rule says which listener it means; the rule is replaced whichever it was.
    served.ok("bind", "--replace", "old", *RULE, "to", "8080")
    assert served.ask("192.0.2.7", 80) == "old"
    told = served.ok("bind", "--replace", "new", *RULE, "to", "8081")
    assert "Bind=tcp 192.0.2.0/24 80 to 8080 (old)" in told
    assert served.ask("192.0.2.7", 80) == "new"


def test_a_runtime_rule_replaces_no_lasting_one(served: Host) -> None:
    served.ok("bind", "old", *RULE)
    before = (served.root / PERSISTENT).read_text()
    told = served.fails(EXIT_CONFIG, "bind", "--replace", "--runtime", "new", *RULE)
    assert f"(old) of {served.root / PERSISTENT}:5 lasts" in told
    assert "'sockreg unbind'" in told
    assert (served.root / PERSISTENT).read_text() == before
    assert not (served.root / RUNTIME).exists()
    assert served.ask("192.0.2.7", 80) == "old"
    # The way that the message names.
    served.ok("unbind", "old", *RULE)
    served.ok("bind", "--replace", "--runtime", "new", *RULE)
    assert served.ask("192.0.2.7", 80) == "new"


def test_runtime_rules_are_replaced_by_both_kinds(served: Host) -> None:
    served.ok("bind", "--runtime", "old", *RULE)
    served.ok("bind", "--runtime", "--replace", "new", *RULE)
    assert served.ask("192.0.2.7", 80) == "new"
    told = served.ok("bind", "--replace", "old", *RULE)
    assert f"(new) of {served.root / RUNTIME}:5 is replaced" in told
    assert not (served.root / RUNTIME).exists()
    assert served.ask("192.0.2.7", 80) == "old"


@pytest.mark.parametrize("line", ["Bind=tcp 192.0.2.0/24 80", "Reject=tcp 192.0.2.0/24 80"])
def test_rules_of_other_files_stay(served: Host, line: str) -> None:
    path = served.conf("[other]", line)
    served.ok("apply")
    told = served.fails(EXIT_CONFIG, "bind", "--replace", "new", *RULE)
    assert f"{line} (other) is in {path}:2" in told
    assert "change it there" in told
    assert labels(served) == [("other", "tcp 192.0.2.0/24 80")]


def test_a_rejecting_line_in_its_own_file_stays_too(served: Host) -> None:
    path = served.conf("[mine]", "Reject=tcp 192.0.2.0/24 80", name="90-bind.conf")
    served.ok("apply")
    assert f"is in {path}:2" in served.fails(EXIT_CONFIG, "bind", "--replace", "new", *RULE)
    assert "[new]" not in path.read_text()


def test_ssh_stays_reachable(host: Host) -> None:
    own = "192.0.2.1"
    host.namespace.add_address(f"{own}/24")
    with host.namespace.serve("ssh", own, 22) as ssh:
        host.load()
        host.register([("ssh", ssh.sock)])
        host.ok("bind", "ssh", "tcp", own, "22")
        assert host.ask(own, 22) == "ssh"
        told = host.fails(EXIT_REFUSED, "bind", "--replace", "web", "tcp", own, "22")
        assert f"takes {own}:22" in told
        assert host.ask(own, 22) == "ssh"
        assert "[ssh]" in (host.root / PERSISTENT).read_text()


def test_another_root_is_refused(served: Host, tmp_path_factory: pytest.TempPathFactory) -> None:
    served.ok("bind", "old", *RULE)
    other = tmp_path_factory.mktemp("other")
    served.fails(EXIT_REFUSED, "--root", str(other), "bind", "--replace", "new", *RULE)
    assert not list(other.rglob("*.conf"))
    assert served.ask("192.0.2.7", 80) == "old"


def test_json_says_what_was_replaced(served: Host) -> None:
    served.ok("bind", "old", *RULE)
    change = json.loads(served.run("--json", "bind", "--replace", "new", *RULE).out)["change"]
    assert [rule["label"] for rule in change["added"]] == ["new"]
    assert [rule["label"] for rule in change["removed"]] == ["old"]
    assert any("(old)" in notice and "is replaced" in notice for notice in change["notices"])


@pytest.mark.parametrize("before", [(), ("--runtime",)])
def test_a_death_leaves_the_old_or_the_new_label(served: Host, before: tuple[str, ...]) -> None:
    served.ok("bind", *before, "old", *RULE)
    seen = set()
    for _ in deaths(lambda: served.ok("bind", "--replace", "new", *RULE)):
        answer = served.ask("192.0.2.7", 80)
        assert answer in ("old", "new")
        seen.add(answer)
        served.run("apply")  # may find both rules, in two files, and then changes nothing
        assert served.ask("192.0.2.7", 80) in ("old", "new")
        served.ok("bind", "--replace", "new", *RULE)
        assert served.ask("192.0.2.7", 80) == "new"
        assert labels(served) == [("new", "tcp 192.0.2.0/24 80")]
        served.ok("unbind", "new", *RULE)
        served.ok("bind", *before, "old", *RULE)
    assert seen == {"old", "new"}


def test_many_rules_come_and_go_in_one_step(served: Host) -> None:
    rules = "# comment\n\nold tcp 192.0.2.1 80\nnew tcp 192.0.2.2 80,81\n"
    told = served.ok("bind", "-", typed=rules)
    assert "generation 2 in force: 3 rules (3 added, 0 removed)" in told
    assert [served.ask(f"192.0.2.{host}", 80) for host in (1, 2)] == ["old", "new"]
    # Later lines see what earlier ones have replaced.
    swapped = "new tcp 192.0.2.1 80\nold tcp 192.0.2.2 80\n"
    told = served.ok("bind", "--replace", "-", typed=swapped)
    assert "generation 3 in force: 3 rules (2 added, 2 removed)" in told
    assert [served.ask(f"192.0.2.{host}", 80) for host in (1, 2)] == ["new", "old"]
    assert "nothing to change" in served.ok("bind", "--replace", "-", typed=swapped)
    left = served.ok("unbind", "-", typed=f"{swapped}new tcp 192.0.2.2 81\n")
    assert "generation 4 in force: 0 rules (0 added, 3 removed)" in left
    assert not (served.root / PERSISTENT).exists()


def test_a_list_with_a_wrong_rule_is_refused_whole(served: Host) -> None:
    served.ok("bind", "old", *RULE)
    before = (served.root / PERSISTENT).read_text()
    good = "new tcp 192.0.2.9 80\n"
    for status, wrong, message in (
        (EXIT_USAGE, "new tcp 192.0.2.300 80", "rule 2 of the list, new: tcp 192.0.2.300 80: "),
        (EXIT_USAGE, "new", "rule 2 of the list, new: "),
        (EXIT_CONFIG, "new tcp 192.0.2.0/24 80", "ties with"),
    ):
        assert message in served.fails(status, "bind", "-", typed=good + wrong)
    said = served.fails(EXIT_CONFIG, "unbind", "-", typed=f"old {' '.join(RULE)}\n{good}")
    assert "rule 2 of the list, new: there is no rule" in said
    assert "standard input has no rules" in served.fails(EXIT_USAGE, "bind", "-", typed="# none\n")
    assert "bind: PORTS is missing" in served.fails(EXIT_USAGE, "bind", "new", "tcp", "192.0.2.9")
    assert (served.root / PERSISTENT).read_text() == before
    assert labels(served) == [("old", " ".join(RULE))]
