"""The command sockreg on this host."""

from __future__ import annotations

import json
import os
import subprocess
import tempfile
from collections.abc import Mapping
from typing import Any

from sockreg.errors import (
    EXIT_CONFIG,
    EXIT_FAILURE,
    EXIT_OK,
    EXIT_PARTLY,
    EXIT_REFUSED,
    SockregError,
)

_PATIENCE = 300.0  # s; a command waits a minute for another one


class CommandError(SockregError):
    """A command has failed. Its ``lines`` are what it says, with file and line.

    ``is_refusal`` is whether it has refused the rules.
    """

    def __init__(self, lines: list[str], status: int = EXIT_FAILURE) -> None:
        super().__init__(lines)
        self.is_refusal = status in (EXIT_CONFIG, EXIT_REFUSED)


class Command:
    """Runs sockreg with JSON."""

    def __init__(self, path: str) -> None:
        self._path = path
        # systemd takes what the unit is doing from the follower only.
        self._environment = {k: v for k, v in os.environ.items() if k != "NOTIFY_SOCKET"}

    def apply(self, files: Mapping[str, str | None], *options: str) -> dict[str, Any]:
        """Apply with conf files that are written in the same step; None removes one.

        Returns the change. Raises CommandError.
        """
        arguments = ["apply", *options]
        with tempfile.TemporaryDirectory(dir=os.environ.get("RUNTIME_DIRECTORY")) as directory:
            for number, (path, text) in enumerate(sorted(files.items())):
                if text is None:
                    arguments += ["--remove", path]
                    continue
                source = os.path.join(directory, str(number))
                with open(source, "wb") as file:
                    file.write(text.encode("utf-8", "surrogateescape"))
                arguments += ["--put", path, source]
            return dict(self._run(*arguments)["change"])

    def confirm(self) -> None:
        """Keep the rules that are on trial. Raises CommandError."""
        self._run("confirm")

    def rollback(self) -> None:
        """Take the rules back that are on trial. Raises CommandError."""
        self._run("rollback")

    def is_on_trial(self) -> bool:
        """Whether the rules in force wait for a confirmation. Raises CommandError."""
        return self._run("status", "--lines", "0")["status"]["trial"] is not None

    def _run(self, *arguments: str) -> dict[str, Any]:
        try:
            done = subprocess.run(
                [self._path, "--json", *arguments],
                check=False,
                capture_output=True,
                encoding="utf-8",
                errors="surrogateescape",
                timeout=_PATIENCE,
                env=self._environment,
            )
        except (OSError, subprocess.TimeoutExpired) as error:
            raise CommandError([f"sockreg {arguments[0]}: {error}"]) from error
        body = _parsed(done.stdout)
        if done.returncode == EXIT_OK or (done.returncode == EXIT_PARTLY and body):
            return body
        problems = body.get("error", {}).get("problems") or done.stderr.splitlines()
        raise CommandError(
            list(problems) or [f"sockreg {arguments[0]}: {done.returncode}"], done.returncode
        )


def _parsed(text: str) -> dict[str, Any]:
    try:
        return dict(json.loads(text))
    except ValueError:
        return {}
