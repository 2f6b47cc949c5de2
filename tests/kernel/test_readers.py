"""Readers without privileges are told what is in force, or that it is not known; nothing wrong."""

from __future__ import annotations

import errno
import grp
import os
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from sockreg.errors import EXIT_CONFIG, EXIT_FAILURE, EXIT_NOT_LOADED, EXIT_OK
from sockreg.kernel import libbpf
from sockreg.registry import access, counter_growth, generations, published
from tests import tree
from tests.kernel.dying import deaths
from tests.kernel.host import Host

WEB = ["[web]", "Bind=tcp 192.0.2.0/24 80"]
MORE = [*WEB, "Bind=tcp 192.0.2.0/24 443"]
CUT_SHORT = "a change of rules was interrupted"

Ask = Callable[[], tuple[int, str]]

# Asks again for every line it reads: an interpreter of its own for each look would take long.
_READER = """
import sys
sys.path.insert(0, sys.argv[1])
from pathlib import Path
from sockreg.errors import SockregError
from sockreg.registry import generations, published
published._PATIENCE = 0.02
for line in sys.stdin:
    try:
        found = generations.read_in_force(
            line.rstrip(), lambda it: (it.number, generations.read_header(it).count)
        )
        print(0, found[0] if found else None, flush=True)
    except SockregError as error:
        print(error.status, error.message, flush=True)
"""


@pytest.fixture
def member(host: Host, monkeypatch: pytest.MonkeyPatch) -> Iterator[Ask]:
    """Asks as a member of the group: (exit status, number of the generation or what is wrong)."""
    group = grp.getgrnam("nogroup")
    monkeypatch.setattr(access, "GROUP", group.gr_name)
    host.bpffs.chmod(0o711)
    command = ["setpriv", "--reuid=65534", f"--regid={group.gr_gid}", "--clear-groups"]
    command += ["--bounding-set=-all", "/usr/bin/python3", "-c", _READER]
    with subprocess.Popen(
        [*command, str(tree.public())],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None

        def ask() -> tuple[int, str]:
            assert process.stdin is not None
            assert process.stdout is not None
            process.stdin.write(f"{host.registry}\n")
            process.stdin.flush()
            status, _, text = process.stdout.readline().rstrip().partition(" ")
            return int(status), text

        yield ask
        process.stdin.close()


def truth(host: Host) -> str:
    """What root sees: the number of the generation that the link runs."""
    current = generations.in_force(str(host.registry))
    return str(current.number if current else None)


def is_honest(host: Host, answer: tuple[int, str]) -> bool:
    status, text = answer
    return text == truth(host) if status == EXIT_OK else text.startswith(CUT_SHORT)


def test_readers_follow_every_change(host: Host, member: Ask) -> None:
    host.load(*WEB)
    assert member() == (EXIT_OK, "1")
    host.apply(*MORE)
    assert member() == (EXIT_OK, "2")
    host.ok("rollback")
    assert member() == (EXIT_OK, "1")
    host.ok("upgrade")
    assert member() == (EXIT_OK, truth(host))


def test_a_death_at_any_point_of_an_apply_tells_readers_nothing_wrong(
    host: Host, member: Ask
) -> None:
    host.load(*WEB)
    host.conf(*MORE)
    answers = set()
    for _ in deaths(lambda: host.ok("apply")):
        answer = member()
        assert is_honest(host, answer), (answer, truth(host))
        answers.add(answer[0])
        host.ok("apply")
        assert member() == (EXIT_OK, truth(host))
        host.apply(*WEB)
        assert member() == (EXIT_OK, truth(host))
        host.conf(*MORE)
    assert answers == {EXIT_OK, EXIT_FAILURE}


def test_a_death_at_any_point_of_a_load_tells_readers_nothing_wrong(
    host: Host, member: Ask
) -> None:
    host.conf(*WEB)
    for _ in deaths(lambda: host.ok("load")):
        if host.home.exists() and any(not it.name.startswith("new-") for it in host.home.iterdir()):
            answer = member()
            assert is_honest(host, answer), (answer, truth(host))
        host.ok("load")
        assert member() == (EXIT_OK, truth(host))
        closed = [path for path in host.home.rglob("*") if not path.stat().st_mode & 0o040]
        assert {path.name for path in closed} == {
            *("copy_socket", "generations", "link", "lock", "program")
        }
        host.ok("unload")


def test_readers_know_what_is_in_force_while_counters_are_copied(
    host: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Copying may take longer than readers wait."""
    counting_on = counter_growth.counting_on
    seen = []

    @contextmanager
    def observed(registry: str, generation: Path, failed: list[OSError]) -> Iterator[None]:
        with counting_on(registry, generation, failed):
            seen.append(published.read(registry).generation)
            yield

    host.load(*WEB)
    monkeypatch.setattr(counter_growth, "counting_on", observed)
    host.apply(*MORE)
    assert seen == [1]
    assert published.read(str(host.registry)).generation == 2


def test_readers_know_what_is_in_force_after_a_swap_that_failed(
    host: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refusing(*_: int) -> None:
        raise OSError(errno.ENOMEM, os.strerror(errno.ENOMEM))

    host.load(*WEB)
    host.conf(*MORE)
    monkeypatch.setattr(libbpf, "update_link", refusing)
    assert host.run("apply").status == EXIT_FAILURE
    assert published.read(str(host.registry)).generation == 1


def test_no_group_is_no_failure(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(access, "GROUP", "no-such-group")
    host.load(*WEB)
    assert host.home.stat().st_gid == 0


def test_status_says_that_the_last_apply_failed(host: Host) -> None:
    host.load(*WEB)
    assert "last apply" not in host.ok("status", "-n", "0")
    assert host.json("status")["applied"]["status"] == EXIT_OK
    host.conf("[web]", "Bind=tcp nonsense 80")
    host.fails(EXIT_CONFIG, "apply")
    applied = host.json("status")["applied"]
    assert applied["status"] == EXIT_CONFIG
    assert applied["succeeded"] < applied["attempted"]
    assert "last apply  failed 0 s ago with status 78; it succeeded 0 s ago" in host.ok("status")
    # The files may have changed since; the journal tells what it was.
    why = "'journalctl -t sockreg' says why, 'sockreg apply --check' what is wrong now"
    assert why in host.ok("status")
    host.apply(*MORE)
    assert "last apply" not in host.ok("status", "-n", "0")


def test_a_bind_that_is_refused_is_no_failed_apply(host: Host) -> None:
    host.load(*WEB)
    host.fails(EXIT_CONFIG, "bind", "other", "tcp", "192.0.2.0/24", "80")
    assert host.json("status")["applied"]["status"] == EXIT_OK
    host.ok("unload")
    host.fails(EXIT_NOT_LOADED, "status")
