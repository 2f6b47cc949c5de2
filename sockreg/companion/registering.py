"""Registering the sockets that systemd has passed: what sockreg-add@.service does."""

from sockreg.errors import SockregError
from sockreg.registry import registration
from sockreg.systemd import listen_fds


def register(unit: str, bpffs: str, root: str) -> None:
    """Register all passed sockets as those of ``unit``; if its companion starts, have its rules
    count.

    Raises SockregError if that fails. Without rules that count, the sockets stay registered.
    """
    received = listen_fds.received()
    registration.register(received, unit, bpffs, root=root)
    # The sockets receive. What follows may take its time.
    from sockreg.companion import counting

    registry = registry_of(received, bpffs)
    if registry is not None and counting.has_started(registry, unit, root):
        return
    if _starts(unit) and not (registry is not None and counting.count(registry, unit, root)):
        _put_in_force(unit)


def registry_of(received: list[tuple[int, str]], bpffs: str) -> str | None:
    """The registry that has the sockets; None if it is not one."""
    from sockreg.companion import counting

    registries = set()
    for fd, _ in received:
        try:
            registries.add(counting.registry_of(bpffs, fd))
        except OSError:
            continue  # not a socket; the registration has said so
    return registries.pop() if len(registries) == 1 else None


def _starts(unit: str) -> bool:
    """Whether this registration is part of a start of sockreg@.service, and not for itself."""
    import posix

    from sockreg.systemd import systemctl
    from sockreg.terms import companion

    try:
        posix.stat("/run/systemd/system")  # sd_booted(3)
    except FileNotFoundError:
        return False
    name = companion(unit)
    return systemctl.jobs(name).get(name) in ("start", "restart")


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
            f"{unit} is registered, but its rules are not in force: {name} has failed",
            f"'journalctl -u {shell(name)}' says why",
        )
