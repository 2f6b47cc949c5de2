"""Playing a recipe on a host with a client, and asking the client again later."""

from __future__ import annotations

import re
from functools import partial
from pathlib import Path

from tests.docs import Command, File, Scene
from tests.docs.play import run, write
from tests.recipes.roots import APT_INSTALL, packages
from tests.sandbox import Sandbox

_UNIT = re.compile(r"/etc/systemd/system/([^/@]+\.(?:socket|service))(?:\.d/[^/]+)?")
_HOST = ("198.51.100.1/24", "2001:db8:ffff::1/64")
_CLIENT = ("198.51.100.2/24", "2001:db8:ffff::2/64")
_PREFIXES = ("192.0.2.0/24", "2001:db8::/64")


# What a host has and a box leaves out: files below /run and settings of the kernel at boot, logins,
# and a root that is no overlay, on which podman could put another one.
_FILES = {
    "/etc/containers/storage.conf": (
        '[storage]\ndriver = "vfs"\nrunroot = "/run/containers/storage"\n'
        'graphroot = "/var/lib/containers/storage"\n'
    ),
    "/etc/systemd/system/multi-user.target.d/logins.conf": (
        "[Unit]\nWants=dbus.socket systemd-logind.service\n"
    ),
    "/etc/systemd/system/sysinit.target.d/early.conf": (
        "[Unit]\nWants=systemd-tmpfiles-setup.service systemd-sysctl.service\n"
    ),
}


def machine(installed: Path, lower: Path) -> Sandbox:
    """A box with sockreg that boots a root with packages as a host does."""
    return Sandbox(trees=[installed], files=_FILES, lower=str(lower), target="multi-user.target")


class Recipe:
    """A scene, and the box that it is played in, which boots the root ``lower``."""

    def __init__(self, box: Sandbox, scene: Scene, lower: Path) -> None:
        self.box, self.scene, self._lower = box, scene, lower
        self.asked = [command for command in scene.commands() if command.by_client]
        self.units = _units(scene)

    def join(self) -> None:
        """Set up the network of docs/recipes/README.md, after each boot."""
        lines = [
            # Containers without privileges need to see a whole one; that of a box has covers.
            "mkdir /run/proc && mount -t proc -o nosuid,nodev,noexec proc /run/proc",
            "ip netns add client",
            "ip link add eth0 type veth peer name eth0 netns client",
            "ip link set eth0 up",
            "ip -n client link set lo up",
            "ip -n client link set eth0 up",
        ]
        for at, addresses in (("", _HOST), ("-n client", _CLIENT)):
            lines += [f"ip {at} address add {each} dev eth0 nodad" for each in addresses]
        for prefix, (gateway, _) in zip(_PREFIXES, (it.split("/") for it in _HOST), strict=True):
            lines += [
                f"ip route add local {prefix} dev lo",
                f"ip -n client route add {prefix} via {gateway}",
            ]
        self.box.run(["sh", "-ec", "\n".join(lines)])

    def play(self) -> None:
        """Do what it says, in order."""
        for action in self.scene.actions:
            if isinstance(action, File):
                write(self.box, action)
            elif action.line.startswith(APT_INSTALL):
                self._install(packages(action))
            else:
                self._run(action)

    def ask(self) -> None:
        """Have the client ask again, until it sees what is shown or some time has passed."""
        for command in self.asked:
            self.box.wait(partial(self._holds, command), command.line, deadline=30)

    def check(self) -> None:
        """Nothing but notes is what check says of a host with the recipe."""
        said = self.box.run(["sockreg", "check"], check=False)
        assert not re.search(r"^(error|warning) ", said.stdout, re.MULTILINE), said.stdout
        assert said.returncode == 0, said.stderr

    def _holds(self, command: Command) -> bool:
        try:
            self._run(command)
        except AssertionError:
            return False
        return True

    def _run(self, command: Command) -> None:
        within = ["ip", "netns", "exec", "client"] if command.by_client else []
        run(self.box, command, directory="/root", within=within)

    def _install(self, names: list[str]) -> None:
        """Enable and start the services that the packages do when they are installed."""
        for wants in sorted(self._lower.glob("etc/systemd/system/*.wants/*")):
            owner = self.box.run(["dpkg", "-S", f"*/systemd/system/{wants.name}"], check=False)
            if owner.stdout.partition(":")[0] in _with_what_they_need(names, self._lower):
                self.box.systemctl("enable", "--now", wants.name)


def _with_what_they_need(names: list[str], lower: Path) -> set[str]:
    """These packages of a root and those that they depend on."""
    needs: dict[str, set[str]] = {}
    status = (lower / "var/lib/dpkg/status").read_text()
    for package in re.findall(r"^Package: (\S+)\n((?:.+\n)+)", status, re.MULTILINE):
        depends = "".join(re.findall(r"^Depends: (.*)", package[1], re.MULTILINE))
        needs[package[0]] = set(re.findall(r"(?:^|[,|] *)([^ ,|:(]+)", depends))
    found: set[str] = set()
    waiting = set(names)
    while waiting:
        found |= waiting
        waiting = set().union(*(needs.get(name, set()) for name in waiting)) - found
    return found


def _units(scene: Scene) -> list[str]:
    """The units that it has files of: sockets first, as they end their services."""
    found = {
        named[1]
        for action in scene.actions
        if isinstance(action, File) and (named := _UNIT.fullmatch(action.path))
    }
    return sorted(found, key=lambda name: (name.endswith(".service"), name))
