"""Registering the sockets that systemd has passed, for one unit that starts."""

from sockreg.errors import SockregError
from sockreg.registry import registration
from sockreg.systemd import listen_fds


def register(unit: str, bpffs: str, root: str) -> None:
    """Register all passed sockets as those of ``unit``, and have its rules count.

    Raises SockregError if that fails. Without rules that count, the sockets stay registered.
    """
    received = listen_fds.received()
    registration.register(received, unit, bpffs, root=root)
    # The sockets receive. What follows may take its time.
    if not note_start(received, unit, bpffs, root):
        _put_in_force(unit)


def note_start(received: list[tuple[int, str]], unit: str, bpffs: str, root: str) -> bool:
    """Note that a unit has started whose sockets are registered; False if its rules are not in
    force as its files are now.
    """
    from sockreg.companion import counting

    registries = set()
    for fd, _ in received:
        try:
            registries.add(counting.registry_of(bpffs, fd))
        except OSError:
            continue  # not a socket; the registration has said so
    # Sockets of several network namespaces have several loaders.
    return len(registries) == 1 and counting.count(registries.pop(), unit, root)


def _put_in_force(unit: str) -> None:
    """This process has no right to load a program: another unit has."""
    from sockreg.printable import shell
    from sockreg.systemd import systemctl
    from sockreg.terms import applying_unit

    name = applying_unit(unit)
    # Without its dependencies: nothing else starts, above all no socket that stops at this moment.
    status, _ = systemctl.run("--job-mode=ignore-dependencies", "start", name)
    if status:
        raise SockregError(
            f"{unit}: its sockets are registered, but its rules are not in force: {name} has failed",
            f"'journalctl -u {shell(name)}' says why",
        )
