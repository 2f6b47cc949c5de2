"""A connection of Ansible to a box: its commands run inside, by nsenter(1)."""

from __future__ import annotations

import subprocess
from typing import Any

from ansible.plugins.connection import ConnectionBase

DOCUMENTATION = """
name: box
short_description: run commands in a box of tests/sandbox
description: Its processes are those of the box whose first one is known.
author: sockreg
options:
  box_pid:
    description: The first process of the box.
    vars:
      - name: box_pid
"""


class Connection(ConnectionBase):  # type: ignore[misc]
    """The box of the host variable ``box_pid``."""

    transport = "box"
    has_pipelining = True

    def _connect(self) -> Connection:
        self._connected = True
        return self

    def exec_command(
        self, cmd: str, in_data: bytes | None = None, sudoable: bool = True
    ) -> tuple[int, bytes, bytes]:
        """Run a command line; returns its status and what it wrote to stdout and stderr."""
        super().exec_command(cmd, in_data=in_data, sudoable=sudoable)
        done = self._run(["/bin/sh", "-c", cmd], in_data)
        return done.returncode, done.stdout, done.stderr

    def put_file(self, in_path: str, out_path: str) -> None:
        """Copy a file into the box."""
        with open(in_path, "rb") as file:
            self._run(["/bin/sh", "-c", 'cat >"$1"', "put", out_path], file.read(), check=True)

    def fetch_file(self, in_path: str, out_path: str) -> None:
        """Copy a file out of the box."""
        with open(out_path, "wb") as file:
            file.write(self._run(["cat", in_path], None, check=True).stdout)

    def close(self) -> None:
        """There is nothing to close."""
        self._connected = False

    def _run(
        self, command: list[str], given: bytes | None, *, check: bool = False
    ) -> subprocess.CompletedProcess[Any]:
        pid = str(self.get_option("box_pid"))
        enter = ["nsenter", "-t", pid, "-m", "-u", "-i", "-n", "-p", "-C", "-r", "-w", "--"]
        environment = {
            "HOME": "/root",
            "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
            "LANG": "C.UTF-8",
        }
        given = given if given is not None else b""
        return subprocess.run(
            [*enter, *command], input=given, capture_output=True, check=check, env=environment
        )
