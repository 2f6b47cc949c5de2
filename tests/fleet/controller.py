"""The machine that Ansible runs on: this one, with the collection of this tree."""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from tests.sandbox import Sandbox
from tests.tree import ROOT

COLLECTION = ROOT / "units/ansible"
BIN = ROOT / ".venv/apart/fleet/bin"


class Played(NamedTuple):
    """How a playbook ended: what was printed, and for each host the numbers of its recap."""

    status: int
    text: str
    recap: dict[str, dict[str, int]]

    def changed(self) -> dict[str, int]:
        """How many tasks changed something on each host that took part."""
        return {host: numbers["changed"] for host, numbers in self.recap.items()}


class Controller:
    """Plays playbooks on boxes; files are below ``directory``."""

    def __init__(self, directory: Path, hosts: Mapping[str, Sandbox]) -> None:
        self._directory = directory
        place = directory / "collections/ansible_collections/sockreg/sockreg"
        place.parent.mkdir(parents=True)
        place.symlink_to(COLLECTION)
        lines = ["[sockreg]"]
        lines += [
            f"{name} ansible_connection=box box_pid={box.pid} "
            "ansible_python_interpreter=/usr/bin/python3"
            for name, box in hosts.items()
        ]
        self._inventory = directory / "inventory"
        self._inventory.write_text("\n".join(lines) + "\n")
        self.environment = {
            "HOME": str(directory),
            "PATH": f"{BIN}:/usr/sbin:/usr/bin:/sbin:/bin",
            "LANG": "C.UTF-8",
            "ANSIBLE_COLLECTIONS_PATH": str(directory / "collections"),
            "ANSIBLE_CONNECTION_PLUGINS": str(ROOT / "tests/fleet/plugins"),
            "ANSIBLE_LOCALHOST_WARNING": "False",
            "ANSIBLE_NOCOLOR": "1",
            "ANSIBLE_RETRY_FILES_ENABLED": "False",
        }

    def started(self, variables: Mapping[str, Any], *options: str) -> subprocess.Popen[str]:
        """Ansible that plays the playbook of the collection with these variables."""
        return self.playing("sockreg.sockreg.rollout", variables, *options)

    def playing(
        self, playbook: str, variables: Mapping[str, Any], *options: str
    ) -> subprocess.Popen[str]:
        """Ansible that plays a playbook."""
        given = json.dumps({"sockreg_become": False, **variables})
        return subprocess.Popen(
            [BIN / "ansible-playbook", "-i", self._inventory, "-e", given, *options, playbook],
            cwd=self._directory,
            env=self.environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def roll_out(self, variables: Mapping[str, Any], *options: str) -> Played:
        """Play the playbook of the collection to its end."""
        return ended(self.started(variables, *options))

    def play(self, tasks: list[dict[str, Any]], *options: str) -> Played:
        """Play tasks on all hosts."""
        path = self._directory / "tasks.yml"  # JSON is YAML
        path.write_text(json.dumps([{"hosts": "all", "gather_facts": False, "tasks": tasks}]))
        return ended(self.playing(str(path), {}, *options))


def ended(process: subprocess.Popen[str]) -> Played:
    """Wait for the end of a playbook."""
    text, _ = process.communicate(timeout=300)
    recap = {}
    for line in text.partition("PLAY RECAP")[2].splitlines()[1:]:
        host, _, numbers = line.partition(":")
        if numbers:
            found = re.findall(r"(\w+)=(\d+)", numbers)
            recap[host.strip()] = {name: int(number) for name, number in found}
    return Played(process.returncode, text, recap)
