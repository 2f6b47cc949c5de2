"""Units as the tests write them, and what the journal says of them."""

from __future__ import annotations

from collections.abc import Sequence

from tests.sandbox import Sandbox
from tests.tree import IN_BOX

UNITS = "/etc/systemd/system"


def socket_unit(
    *listen: str,
    label: str | None = "web",
    rules: Sequence[str] = (),
    settings: Sequence[str] = (),
    dependencies: Sequence[str] = (),
) -> str:
    """A .socket unit; ``listen`` are its Listen lines, those without a key are streams."""
    lines = ["[Unit]", *dependencies, "[Socket]"]
    lines += [line if "=" in line else f"ListenStream={line}" for line in listen]
    if label is not None:
        lines.append(f"FileDescriptorName={label}")
    lines += [*settings, "[X-Sockreg]", *rules, "[Install]", "WantedBy=sockets.target"]
    return "\n".join(lines) + "\n"


def service_unit(
    server: str, *, settings: Sequence[str] = (), dependencies: Sequence[str] = ()
) -> str:
    """A .service unit that runs a server of tests/servers, such as ``accept_loop web``."""
    lines = ["[Unit]", *dependencies, "[Service]", f"WorkingDirectory={IN_BOX}"]
    lines += [f"ExecStart=/usr/bin/python3 -m tests.servers.{server}", *settings]
    return "\n".join(lines) + "\n"


def web(
    *,
    listen: Sequence[str] = ("127.0.0.1:8080",),
    rules: Sequence[str] = ("Bind=tcp 127.0.0.1 80",),
    server: str = "accept_loop web",
    requires_socket: bool = True,
) -> dict[str, str]:
    """The files of the usual example: web.socket on port 8080, its rules, and web.service."""
    requires = ["Requires=web.socket"] if requires_socket else []
    return {
        f"{UNITS}/web.socket": socket_unit(*listen, rules=rules),
        f"{UNITS}/web.service": service_unit(server, dependencies=requires),
    }


def messages(box: Sandbox, *matches: str) -> list[str]:
    """The texts of the journal entries that ``matches`` (journalctl's arguments) select."""
    return [str(entry["MESSAGE"]) for entry in box.journal(*matches)]
