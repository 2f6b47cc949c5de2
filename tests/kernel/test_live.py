"""``status --watch`` and ``top``: numbers that move while one looks."""

from __future__ import annotations

import os
import pty
import re
import signal
import subprocess

import pytest

from sockreg.errors import EXIT_INTERRUPTED, EXIT_NOT_LOADED, EXIT_OK, EXIT_USAGE
from tests.kernel.host import Host
from tests.terminal import on_terminal
from tests.tree import ROOT

RULES = ["[web]", "Bind=tcp 192.0.2.0/24 80", "[dns]", "Bind=udp 192.0.2.0/24 53"]


def line_of(lines: list[str], label: str) -> list[str]:
    """The words of the line that begins with the label."""
    return next((line.split() for line in lines if line.startswith(f"{label} ")), [])


def test_top_shows_rates_and_what_is_wrong(host: Host) -> None:
    host.load(*RULES)
    with (
        host.serve("web", "127.0.0.1", 8080, unit="web.socket"),
        on_terminal(host.command("top", "--interval", "0.2"), cwd=ROOT) as terminal,
    ):
        terminal.wait(lambda lines: line_of(lines, "web"))
        assert terminal.lines[0].startswith("sockreg: generation 1, 2 rules, in force for 0:00:0")
        for _ in range(10):
            assert host.ask("192.0.2.7", 80) == "web"
        terminal.wait(lambda lines: line_of(lines, "web")[6:7] == ["10"])
        head = terminal.lines[3].split()
        assert head == ["LABEL", "PROTO", "FAMILY", "LOOKUPS/S", "MISSES/S", "ERRORS/S",
                        "LOOKUPS", "QUEUE", "DROPPED", "SOCKETS", "UNITS"]  # fmt: skip
        assert line_of(terminal.lines, "web")[7:] == ["0/4096", "0", "1", "web.socket"]
        # web has had more, so it stands first; dns has no socket, and that stands out.
        terminal.wait(lambda lines: [line[:4] for line in lines[4:6]] == ["web ", "dns "])
        assert (terminal.colour(4, 0), terminal.colour(5, 0)) == ("default", "red")
        terminal.wait(lambda lines: line_of(lines, "web")[3:4] == ["0"])
        terminal.press("q")
        assert terminal.ended() == EXIT_OK


def test_what_a_terminal_shows_is_coloured_by_how_it_is(host: Host) -> None:
    host.load(*RULES)

    def colours(*verb: str, env: dict[str, str] | None = None) -> dict[str, str]:
        """The colour of each line by its first word."""
        command = host.command(*verb)
        with on_terminal(command, rows=40, columns=180, cwd=ROOT, env=env) as terminal:
            terminal.ended()
            terminal.wait(any)
            return {
                line.split()[0]: terminal.colour(row, 0)
                for row, line in enumerate(terminal.lines)
                if line
            }

    with host.serve("web", "127.0.0.1", 8080, unit="web.socket"):
        seen = colours("status", "-n", "0")
        assert {word: seen[word] for word in ("registry", "in", "LABEL", "web", "dns")} == {
            "registry": "default", "in": "green", "LABEL": "default", "web": "default",
            "dns": "red"}  # fmt: skip
        assert colours("explain", "tcp", "192.0.2.7:80")["verdict"] == "green"
        assert colours("explain", "udp", "192.0.2.7:53")["verdict"] == "red"
        checked = colours("check")
        assert (checked["error"], checked["what"]) == ("red", "default")
        assert colours("drain", "web") == {"label": "default"}
        assert colours("status", "-n", "0")["web"] == "red"
        for off in ({"NO_COLOR": "1"}, {"SYSTEMD_COLORS": "0"}, {"TERM": "dumb"}):
            assert set(colours("status", "-n", "0", env=off).values()) == {"default"}
    assert "\033" not in host.ok("status")
    host.ok("unload", "--keep")
    assert colours("status", "-n", "0")["in"] == "red"


def test_top_outlives_an_unload_and_another_size(host: Host) -> None:
    host.load(*RULES)
    with on_terminal(host.command("top", "--interval", "0.1"), cwd=ROOT) as terminal:
        terminal.wait(lambda lines: line_of(lines, "web"))
        host.ok("unload")
        terminal.wait(lambda lines: lines[0].startswith("no registry at "))
        host.ok("load")
        terminal.wait(lambda lines: line_of(lines, "web"))
        terminal.resize(4, 30)
        terminal.wait(lambda lines: len(lines) == 4 and lines[3].startswith("LABEL  PROTO  FAM"))
        terminal.resize(24, 120)
        terminal.wait(lambda lines: line_of(lines, "dns"))
        terminal.press("q")
        assert terminal.ended() == EXIT_OK


def test_top_leaves_the_terminal_as_it_was(host: Host) -> None:
    host.load(*RULES)
    script = 'trap : INT; before=$(stty -g); "$@"; [ "$(stty -g)" = "$before" ] && echo "as before"'
    with on_terminal(["/bin/sh", "-c", script, "sh", *host.command("top")], cwd=ROOT) as terminal:
        terminal.wait(lambda lines: line_of(lines, "web"))
        terminal.press("\x03")
        terminal.wait(lambda lines: "as before" in lines)


def test_top_ends_with_its_terminal(host: Host) -> None:
    """Also where nobody sends SIGHUP, as without a controlling terminal."""
    host.load(*RULES)
    here, there = pty.openpty()
    command = host.command("top")
    with subprocess.Popen(
        command,
        stdin=there,
        stdout=there,
        stderr=subprocess.PIPE,
        cwd=ROOT,
        env={**os.environ, "TERM": "xterm"},
        start_new_session=True,
    ) as top:
        os.close(there)
        os.read(here, 1)  # it draws
        os.close(here)
        try:
            top.wait(20)
        finally:
            top.kill()


def test_top_wants_a_terminal_and_a_registry(host: Host) -> None:
    assert "status --watch" in host.fails(EXIT_USAGE, "top")
    with on_terminal(host.command("top"), cwd=ROOT) as terminal:
        assert terminal.ended() == EXIT_NOT_LOADED


# status --watch


def looks(process: subprocess.Popen[str]) -> list[str]:
    """The lines of the next look."""
    assert process.stdout is not None
    lines = []
    while line := process.stdout.readline():
        lines.append(line.rstrip("\n"))
        if line == "\n" and "PER S" in "".join(lines):
            break
    return lines


def test_watch_shows_rates_between_looks(host: Host) -> None:
    host.load(*RULES)
    with (
        host.serve("web", "127.0.0.1", 8080, unit="web.socket"),
        subprocess.Popen(
            host.command("status", "-n", "0", "--watch", "0.3"),
            stdout=subprocess.PIPE,
            text=True,
            cwd=ROOT,
        ) as process,
    ):
        try:
            assert line_of(looks(process), "web")[4:6] == ["0", "-"]
            for _ in range(5):
                assert host.ask("192.0.2.7", 80) == "web"
            counted = seen = ""
            while seen in ("", "0"):
                counted, seen = line_of(looks(process), "web")[4:6]
            assert counted == "5"
            assert float(seen) > 0
            while line_of(looks(process), "web")[5] != "0":
                pass
            process.send_signal(signal.SIGINT)
            assert process.wait(timeout=15) == EXIT_INTERRUPTED
        finally:
            process.kill()


def test_watch_on_a_terminal_begins_at_the_top_each_time(host: Host) -> None:
    host.load(*RULES)
    with on_terminal(host.command("status", "-n", "0", "--watch", "0.1"), cwd=ROOT) as terminal:
        terminal.wait(lambda lines: line_of(lines, "web")[5:6] == ["0"])
        for _ in range(2):
            assert terminal.lines[0].startswith("registry ")
            assert sum(line.startswith("registry ") for line in terminal.lines) == 1
            terminal.wait(lambda lines: line_of(lines, "dns"))
        terminal.press("\x03")
        assert terminal.ended() == EXIT_INTERRUPTED


def test_watch_prints_json_one_after_the_other(host: Host) -> None:
    host.load(*RULES)
    with subprocess.Popen(
        host.command("status", "--json", "--watch", "0.05"),
        stdout=subprocess.PIPE,
        text=True,
        cwd=ROOT,
    ) as process:
        try:
            assert process.stdout is not None
            found = 0
            while found < 3:
                found += process.stdout.readline() == '  "schema": "sockreg.status",\n'
        finally:
            process.kill()


@pytest.mark.parametrize("interval", ["0", "-1", "soon", "inf", "nan"])
def test_an_interval_that_is_none(host: Host, interval: str) -> None:
    host.load(*RULES)
    assert host.run("status", f"--watch={interval}").status == EXIT_USAGE
    with on_terminal(host.command("top", "--interval", interval), cwd=ROOT) as terminal:
        assert terminal.ended() == EXIT_USAGE


# What counters mean, in words


def test_misses_are_told_in_words(host: Host) -> None:
    host.load(*RULES)
    assert "no socket, and" not in host.ok("status", "-n", "0")
    assert host.ask("192.0.2.7", 80) == "refused"
    said = host.ok("status", "-n", "0")
    assert re.search(r"web \(tcp, ipv4\): \d+ packets? found no socket, and there is none", said)
    with host.serve("web", "127.0.0.1", 8080, unit="web.socket"):
        said = host.ok("status", "-n", "0")
        assert "found no socket; there is one now" in said
        host.ok("drain", "web")
        assert "all have weight 0" in host.ok("status", "-n", "0")
