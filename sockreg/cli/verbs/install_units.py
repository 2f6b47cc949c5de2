"""``sockreg install-units``: install the files that are not Python."""

from __future__ import annotations

import argparse

from sockreg.api import Registry
from sockreg.cli.verb import Group, Verb
from sockreg.streams import out


def _run(registry: Registry, _: argparse.Namespace) -> None:
    from sockreg.commands.install import install_units

    for path in install_units(registry.context.root):
        out(f"wrote {path}")
    out("next: 'systemctl enable --now sockreg@NAME.service' for a NAME.socket")


VERB = Verb(
    name="install-units",
    group=Group.UNITS,
    summary="install the systemd units, catalog, group, man page",
    description="Write the systemd units and the journal catalog to /usr/local/lib/systemd, make "
    "the group sockreg, and write the manual page and completion for shells to /usr/local/share.",
    run=_run,
)
