"""A unit starts and stops counting: what its companion writes into the registry."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Callable

import pytest

from sockreg.companion import lifecycle
from sockreg.errors import SockregError
from sockreg.registry.maps import Maps
from sockreg.registry.units import UnitState, unit_state, write_unit
from sockreg.systemd import systemctl, unitpaths
from tests.kernel.host import Host

UNIT = "web.socket"
NOTHING = ["/bin/false"]  # in place of the full command, which is not needed here


@pytest.mark.parametrize("change", [lifecycle.start, lifecycle.stop])
def test_the_state_of_a_unit_is_read_and_written_under_the_lock(
    host: Host, monkeypatch: pytest.MonkeyPatch, change: Callable[..., None]
) -> None:
    """Otherwise an apply at the same moment could lose what one of both has written."""
    units = host.root / "etc/systemd/system"
    (units / "sockets.target.wants").mkdir(parents=True)
    (units / UNIT).write_text("[Socket]\nListenStream=127.0.0.1:8080\n")
    (units / "sockets.target.wants/sockreg@web.service").touch()  # enabled
    host.load()
    starts = change is lifecycle.start

    def locked_state(maps: Maps, unit: str) -> UnitState | None:
        assert is_locked(maps.registry)
        return unit_state(maps, unit)

    def locked_write(maps: Maps, unit: str, state: UnitState) -> None:
        assert is_locked(maps.registry)
        write_unit(maps, unit, state)

    with Maps(str(host.registry)) as maps:
        files = unitpaths.files_state(unitpaths.find_unit(str(host.root), UNIT)[1])
        write_unit(
            maps, UNIT, UnitState(not starts, files, label="web", weight=100, weight_said=False)
        )
        monkeypatch.setattr(lifecycle, "unit_state", locked_state)
        monkeypatch.setattr(lifecycle, "write_unit", locked_write)
        with host.namespace.entered():
            change(UNIT, str(host.bpffs), str(host.root), NOTHING)
        state = unit_state(maps, UNIT)
    assert state is not None
    assert state.active is starts
    assert not is_locked(str(host.registry))


def test_sockets_stay_if_systemd_does_not_say_why_the_unit_stops(
    host: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    host.load("[web]", "Bind=tcp 192.0.2.0/24 80")
    monkeypatch.setattr(systemctl, "_SYSTEMCTL", "/bin/false")
    with host.serve("web", "127.0.0.1", 8080, unit=UNIT):
        with (
            host.namespace.entered(),
            pytest.raises(SockregError, match="systemctl list-jobs' ended with status 1"),
        ):
            lifecycle.leave(UNIT, str(host.bpffs), str(host.root), NOTHING)
        assert host.ask("192.0.2.7", 80) == "web"


def test_systemd_is_not_asked_about_a_unit_of_which_nothing_is_left(
    host: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    host.load("[web]", "Bind=tcp 192.0.2.0/24 80")
    monkeypatch.setattr(systemctl, "_SYSTEMCTL", "/bin/false")
    with host.namespace.entered():
        lifecycle.leave(UNIT, str(host.bpffs), str(host.root), NOTHING)
    with host.serve("web", "127.0.0.1", 8080, unit="other.socket"):
        with host.namespace.entered():
            lifecycle.leave(UNIT, str(host.bpffs), str(host.root), NOTHING)
        assert host.ask("192.0.2.7", 80) == "web"
    # It has no socket, but counts.
    with Maps(str(host.registry)) as maps:
        write_unit(
            maps, UNIT, UnitState(True, (1, 1, 1, 1), label="web", weight=100, weight_said=False)
        )
    with host.namespace.entered(), pytest.raises(SockregError, match="does not say why"):
        lifecycle.leave(UNIT, str(host.bpffs), str(host.root), NOTHING)


def is_locked(registry: str) -> bool:
    """Whether somebody holds the lock of the registry, this process included."""
    fd = os.open(f"{registry}/lock", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(fd)
    return False
