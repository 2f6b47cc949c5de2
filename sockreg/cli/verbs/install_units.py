"""``sockreg install-units`` and ``uninstall-units``: the files that are not Python."""

from __future__ import annotations

import argparse

from sockreg.api import Registry
from sockreg.cli.verb import Group, Verb
from sockreg.streams import out


def _install(registry: Registry, _: argparse.Namespace) -> None:
    from sockreg.commands.install import install_units

    for path in install_units(registry.context.root):
        out(f"wrote {path}")
    out("next: 'systemctl enable --now sockreg@NAME.service' for a NAME.socket")


def _uninstall(registry: Registry, _: argparse.Namespace) -> None:
    from sockreg.commands.uninstall import uninstall_units

    for path in uninstall_units(registry.context):
        out(f"removed {path}")
    out("rules in /etc/sockreg and /var/lib/sockreg, drop-ins and links of enabled units stay")


INSTALL = Verb(
    name="install-units",
    group=Group.SYSTEM,
    summary="install the systemd units, catalog, group, man page",
    description="Write the systemd units and the journal catalog to /usr/local/lib/systemd, make "
    "the group sockreg, and write the manual page and completion for shells to /usr/local/share.",
    run=_install,
)

UNINSTALL = Verb(
    name="uninstall-units",
    group=Group.SYSTEM,
    summary="stop sockreg, and remove what install-units wrote",
    description="Stop the units of sockreg, unload everything, and remove the files that "
    "install-units wrote. Sockets keep listening at their own addresses. Configuration stays.",
    run=_uninstall,
)
