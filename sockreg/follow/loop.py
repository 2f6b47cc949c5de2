"""The loop of sockreg-etcd.service: read the keys, apply them, report, wait for changes.

Nothing that happens to etcd changes rules: while it does not answer, files and rules stay. Rules
come into force for a trial, and stay if this host can still reach etcd then.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from sockreg import streams
from sockreg.errors import EXIT_FAILURE, ConfigError, SockregError
from sockreg.follow import files, settings
from sockreg.follow.command import Command, CommandError
from sockreg.follow.gateway import Found, Gateway, UnreachableError
from sockreg.follow.settings import Settings
from sockreg.systemd import journal, notify

_SETTLE = 1.0  # s between a change and the next look: a burst is applied once
_LOOK = 30.0  # s between two looks without a change
_SOON = 5.0  # s until the next look if a command has failed
_RETRY = 2.0  # s between two questions while etcd does not answer
_REST, _REST_MAX = 60.0, 3600.0  # s until rules are tried again with which it was not well
_FAILURES = 3  # of commands, in a row, before the unit starts again
_REPORT_MAX = 50  # problems in a report
_LINE_MAX = 1000  # characters of a problem

IN_FORCE, REFUSED, NOT_WELL, FAILED = "in force", "refused", "not well", "failed"


def main(command: str) -> int:
    """Follow until the service is stopped."""
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    try:
        given = settings.read(os.environ)
        gateway = Gateway(given)
    except SockregError as error:
        for line in error.lines:
            streams.err(f"sockreg: {line}")
        return error.status
    except OSError as error:
        streams.err(f"sockreg: the files for TLS cannot be used: {error}")
        return EXIT_FAILURE
    Follower(given, gateway, Command(command)).follow()
    return EXIT_FAILURE


@dataclass
class Follower:
    """What is known between two looks.

    ``_settled`` are the files whose rules are in force, and ``_unwell`` those that a trial has
    taken back. They are tried again at ``_again``, ``_rest`` seconds later. ``_failures`` counts
    commands that have failed. ``_report`` is what etcd should have of this host, ``_sent`` what it
    has.
    """

    settings: Settings
    gateway: Gateway
    command: Command
    _settled: dict[str, str] | None = None
    _unwell: dict[str, str] | None = None
    _report: dict[str, Any] = field(default_factory=dict)
    _sent: dict[str, Any] = field(default_factory=dict)
    _away: bool = False
    _failures: int = 0
    _again: float = 0.0
    _rest: float = _REST

    def follow(self) -> None:
        """Look again after each change, and now and then, until commands fail for long.

        The unit's view of the host is then perhaps no longer true: a start gives it another one.
        """
        while self._failures < _FAILURES:
            try:
                found = self.gateway.read(self.settings.rules)
                self._reached()
                self.look(found)
                self._send()
                is_open = self._settled is None and self._report.get("state") in (None, FAILED)
                patience = _SOON if is_open else _LOOK
                if self.gateway.changes(self.settings.rules, found.revision, patience):
                    time.sleep(_SETTLE)
            except UnreachableError as error:
                self._missed(error)
                time.sleep(_RETRY)

    def look(self, found: Found) -> None:
        """Bring the host to what the keys say, or say why not."""
        present = files.present()
        try:
            wanted = _wanted(found, present, self.settings)
        except ConfigError as error:
            self._say(REFUSED, found, {}, problems=error.lines)
            return
        if wanted == present == self._settled:
            return
        changes = files.changes(present, wanted)
        try:
            change = self.command.apply(changes, "--check")
            if changes or change["added"] or change["removed"]:
                if wanted == self._unwell and time.monotonic() < self._again:
                    return
                change = self._try(changes, present)
            elif self.command.is_on_trial():
                # Perhaps that of a follower that has died, and perhaps that of a person: it ends.
                self._settled = None
                return
        except CommandError as error:
            self._settled = None
            self._failures += not error.is_refusal
            state = REFUSED if error.is_refusal else FAILED
            self._say(state, found, wanted, problems=error.lines)
            return
        except _UnwellError as error:
            self._rest = min(2 * self._rest, _REST_MAX) if wanted == self._unwell else _REST
            self._settled, self._unwell = None, wanted
            self._again = time.monotonic() + self._rest
            self._say(NOT_WELL, found, wanted, problems=error.lines)
            return
        self._settled, self._unwell, self._failures = wanted, None, 0
        self._say(IN_FORCE, found, wanted, change=change)

    def _try(
        self,
        changes: Mapping[str, str | None],
        present: Mapping[str, str],
    ) -> dict[str, Any]:
        """Put the rules in force for a trial, and keep them if the host is well with them.

        Raises CommandError if nothing has changed, and _UnwellError if it was taken back.
        """
        change = self.command.apply(changes, "--confirm", str(self.settings.confirm))
        if not change["swapped"]:
            return change
        try:
            self._ask_health()
            self.command.confirm()
        except SockregError as error:
            with contextlib.suppress(CommandError):  # the trial may have ended by itself
                self.command.rollback()
            self.command.apply(files.changes(files.present(), present))
            raise _UnwellError(error.lines) from error
        return change

    def _ask_health(self) -> None:
        """Raises SockregError if etcd cannot be reached, or if the command fails."""
        deadline = time.monotonic() + self.settings.confirm / 3
        while True:
            try:
                self.gateway.read(self.settings.rules)
                break
            except UnreachableError:
                if time.monotonic() > deadline:
                    raise
                time.sleep(_RETRY)
        if not self.settings.health:
            return
        try:
            done = subprocess.run(
                ["/bin/sh", "-c", self.settings.health],
                check=False,
                stdin=subprocess.DEVNULL,
                capture_output=True,
                encoding="utf-8",
                errors="surrogateescape",
                timeout=self.settings.confirm / 2,
            )
        except (OSError, subprocess.TimeoutExpired) as error:
            raise SockregError(f"{self.settings.health}: {error}") from error
        if done.returncode != 0:
            said = (done.stderr or done.stdout).strip()[-_LINE_MAX:]
            raise SockregError(f"{self.settings.health}: status {done.returncode}: {said}")

    def _say(
        self,
        state: str,
        found: Found,
        wanted: Mapping[str, str],
        *,
        problems: list[str] | None = None,
        change: Mapping[str, Any] | None = None,
    ) -> None:
        """Note what to report, and log it if it is news."""
        lines = [line[:_LINE_MAX] for line in problems or []]
        report = {
            "host": self.settings.host,
            "state": state,
            "revision": found.revision,
            "digest": files.digest(wanted),
            "generation": change["generation"] if change else None,
            "rules": change["count"] if change else None,
            "problems": lines[:_REPORT_MAX],
        }
        if _without_revision(report) == _without_revision(self._report):
            return
        self._report = report
        about = f"revision {found.revision} of etcd"
        if state == IN_FORCE:
            journal.say(f"{about} is in force: generation {report['generation']}")
        else:
            journal.say(
                [f"{about} is {state}, the previous rules stay: {(lines or [''])[0]}", *lines[1:]],
                journal.APPLY_REFUSED,
                journal.ERR,
            )
        notify.status(f"{about}: {state}")

    def _send(self) -> None:
        """Bring the report to etcd, if it is not there. Raises UnreachableError."""
        if self._report and self._report != self._sent:
            told = {**self._report, "time": int(time.time())}
            self.gateway.write(self.settings.report, json.dumps(told, sort_keys=True))
            self._sent = self._report

    def _missed(self, error: UnreachableError) -> None:
        if not self._away:
            journal.say(
                f"etcd does not answer, the rules stay as they are: {error.message}",
                priority=journal.WARNING,
            )
            notify.status("etcd does not answer; the rules stay as they are")
        self._away = True

    def _reached(self) -> None:
        if self._away:
            journal.say("etcd answers again", priority=journal.NOTABLE)
            notify.status(f"revision {self._report.get('revision')} of etcd")
        self._away = False


class _UnwellError(SockregError):
    """Rules were in force for a trial, and were taken back."""


def _wanted(found: Found, present: Mapping[str, str], given: Settings) -> dict[str, str]:
    if not found.values and present:
        raise ConfigError(
            f"there is no key below {given.rules}: {len(present)} files stay",
            "to take all rules out of force, leave one key with a comment",
        )
    return files.wanted(found.values)


def _without_revision(report: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in report.items() if name != "revision"}


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
