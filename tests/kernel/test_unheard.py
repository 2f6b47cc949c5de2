"""Output that cannot be written: no traceback, and no change that is told as failed."""

from __future__ import annotations

import pytest

from sockreg.errors import EXIT_CONFIG, EXIT_FAILURE, EXIT_OK
from tests.kernel.host import Host, Outcome

NOBODY = {
    "closed": "exec {} >&-",
    "full": "exec {} >/dev/full",
    "gone": "exec {} > >(exec true)",
    "nothing open": "exec {} <&- >&- 2>&-",
    "nothing writable": "exec {} >/dev/full 2>/dev/full",
    "errors closed": "exec {} 2>&-",
}
ASCII = {"PYTHONIOENCODING": "ascii:strict", "LC_ALL": "C", "PYTHONUTF8": "0"}
SHOWING = [
    ["status"],
    ["rules"],
    ["listeners"],
    ["explain", "tcp", "192.0.2.7", "80"],
    ["graph"],
    ["metrics"],
    ["check", "--files"],
    ["apply", "--check"],
    ["--help"],
]


def unheard(host: Host, how: str, *arguments: str) -> Outcome:
    script = NOBODY[how].replace("{}", '"$@"')
    prefix = ["/bin/bash", "-c", script, "bash"]
    outcome = host.process(*arguments, prefix=prefix, env=ASCII)
    assert "Traceback" not in outcome.text
    assert "Exception ignored" not in outcome.text
    return outcome


@pytest.mark.parametrize("how", NOBODY)
def test_a_change_is_done_although_nobody_hears_of_it(host: Host, how: str) -> None:
    host.load("[web]", "Bind=tcp 192.0.2.0/24 80")
    with host.serve("web", "127.0.0.1", 8080):
        outcome = unheard(host, how, "bind", "web", "tcp", "192.0.2.0/24", "81")
        assert outcome.status == EXIT_OK, outcome.text
        assert ("sockreg: done, but standard output cannot be written" in outcome.err) == (
            how in {"closed", "full"}
        )
        assert host.ask("192.0.2.7", 81) == "web"
        host.conf("[web]", "Bind=tcp 192.0.2.0/24 82", "Bind=wrong", name="more.conf")
        assert unheard(host, how, "apply").status == EXIT_CONFIG
        assert unheard(host, how, "unload").status == EXIT_OK
    assert not list(host.home.glob("*/generations"))


@pytest.mark.parametrize("how", NOBODY)
def test_what_only_shows_something_fails(host: Host, how: str) -> None:
    host.load("[web]", "Bind=tcp 192.0.2.0/24 80")
    # With a pipe it depends on who is first, and neither is a failure.
    expected = EXIT_OK if how in {"gone", "errors closed"} else EXIT_FAILURE
    for words in SHOWING if how == "full" else SHOWING[:2]:
        outcome = unheard(host, how, *words)
        assert outcome.status == expected, (words, outcome.text)
        assert ("standard output cannot be written" in outcome.err) == (how in {"closed", "full"})


def test_a_command_that_follows_is_run(host: Host) -> None:
    """The server must start, although nobody reads what register says."""
    host.load("[web]", "Bind=tcp 192.0.2.0/24 80")
    server = host.namespace.listen("127.0.0.1", 8081)
    with server:
        done = host.process(
            "register", "web", "--", "/bin/sh", "-c", "exit 42",
            sockets=[("web", server)],
            prefix=["/bin/bash", "-c", 'exec "$@" >/dev/full 2>/dev/full', "bash"],
        )  # fmt: skip
    assert done.status == 42


def test_watching_ends_with_its_reader(host: Host) -> None:
    host.load("[web]", "Bind=tcp 192.0.2.0/24 80")
    prefix = ["/bin/bash", "-c", '"$@" | head -1; exit "${PIPESTATUS[0]}"', "bash"]
    outcome = host.process("status", "--watch", "0.01", prefix=prefix)
    assert outcome.status == EXIT_OK
    assert outcome.err == ""
