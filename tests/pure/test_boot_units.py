"""Which sockets one process registers at boot: those that nothing can hold up."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest

from sockreg.companion import boot_units
from tests.tree import ROOT

UNITS = "etc/systemd/system"
SHIPPED = "usr/lib/systemd/system"
NAMES = [f"site{number}" for number in range(4)]
SOCKET = "[Socket]\nListenStream=80\n"


@pytest.fixture
def host(tmp_path: Path) -> Path:
    """A root with the units of sockreg, and four sockets that a boot registers."""
    for template in ("sockreg@.service", "sockreg-add@.service"):
        write(tmp_path, {f"{SHIPPED}/{template}": (ROOT / "units" / template).read_text()})
    for name in NAMES:
        write(tmp_path, {f"{UNITS}/{name}.socket": SOCKET})
        enable(tmp_path, name)
    return tmp_path


def write(root: Path, files: Mapping[str, str]) -> None:
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


def enable(root: Path, name: str, *, by: str = "sockets.target") -> None:
    link = root / UNITS / f"{by}.wants/sockreg@{name}.service"
    link.parent.mkdir(parents=True, exist_ok=True)
    link.symlink_to(f"/{SHIPPED}/sockreg@.service")


def found(root: Path) -> list[str]:
    return [unit.removesuffix(".socket") for unit, _ in boot_units.boot_units(str(root))]


def test_enabled_sockets_are_registered_together(host: Path) -> None:
    assert boot_units.boot_units(str(host)) == [(f"{name}.socket",) * 2 for name in NAMES]


@pytest.mark.parametrize(
    "lines",
    [
        "[Unit]\nAfter=network.target\n",
        "[Unit]\nRequires=other.service\n",
        "[Unit]\nBindsTo=other.service\n",
        "[Unit]\nDefaultDependencies=no\n",
        "[Unit]\nRequiresMountsFor=/srv\n",
        "[Unit]\nWantsMountsFor=/srv\n",
        "[Unit]\nJoinsNamespaceOf=other.service\n",
        "[Unit]\nSomethingNew=other.service\n",
        "[Socket]\nExecStartPre=/bin/sleep 60\n",
        "[Socket]\nExecStartPost=/bin/true\n",
        "[Socket]\nBindToDevice=eth7\n",
        "[Socket]\nPrivateNetwork=yes\n",
        "[Socket]\nNetworkNamespacePath=/run/netns/blue\n",
        "[Socket]\nRootDirectory=/srv/root\n",
        "[Socket]\nWorkingDirectory=/srv/work\n",
        "[Socket]\nListenStream=/srv/socket\n",
        "[Socket]\nListenFIFO=/var/lib/fifo\n",
    ],
)
def test_a_socket_that_may_be_late_is_left_to_its_companion(host: Path, lines: str) -> None:
    write(host, {f"{UNITS}/site1.socket.d/more.conf": lines})
    assert found(host) == ["site0", "site2", "site3"]


@pytest.mark.parametrize(
    "lines",
    [
        "[Unit]\nDescription=It\nDocumentation=man:it(8)\nBefore=it.service\n",
        "[Unit]\nWants=sockreg@%N.service\nPartOf=it.target\nConditionPathExists=/x\n",
        "[Socket]\nListenStream=/run/it.sock\nReusePort=yes\nBacklog=5\nBindIPv6Only=both\n",
        "[Socket]\nListenDatagram=[::]:53\nAccept=no\n",
        "[X-Sockreg]\nBind=tcp 192.0.2.0/24 80\nAfter=nothing\n",
        "[Install]\nWantedBy=sockets.target\n",
    ],
)
def test_what_holds_up_nothing_is_registered_with_the_others(host: Path, lines: str) -> None:
    write(host, {f"{UNITS}/site1.socket.d/more.conf": lines})
    assert found(host) == NAMES


@pytest.mark.parametrize(
    "path",
    [
        f"{UNITS}/prepare.service",
        f"{SHIPPED}/prepare.service",
        f"{UNITS}/prepare.service.d/order.conf",
        f"{UNITS}/service.d/order.conf",
        "run/systemd/system/prepare.target",
    ],
)
def test_a_socket_that_another_unit_precedes_is_left_to_its_companion(
    host: Path, path: str
) -> None:
    """Such an order could lead back to the server of another of these sockets."""
    write(host, {path: "[Unit]\nBefore=shutdown.target site2.socket\n"})
    assert found(host) == ["site0", "site1", "site3"]


def test_an_order_that_names_many_units_leaves_all_to_their_companions(host: Path) -> None:
    write(host, {f"{UNITS}/prepare@.service": "[Unit]\nBefore=%i.socket\n"})
    assert found(host) == []


def test_an_order_by_another_name_of_the_socket_counts(host: Path) -> None:
    (host / UNITS / "alias.socket").symlink_to("site3.socket")
    write(host, {f"{UNITS}/prepare.service": "[Unit]\nBefore=alias.socket\n"})
    assert found(host) == ["site0", "site1", "site2"]


@pytest.mark.parametrize(
    "path",
    [
        f"{UNITS}/sockreg-add@site1.service.d/more.conf",
        f"{UNITS}/sockreg-add@site1.service",
        "run/systemd/system/sockreg-add@site1.service",
    ],
)
def test_a_companion_that_an_administrator_has_changed_runs(host: Path, path: str) -> None:
    write(host, {path: "[Service]\nExecStart=/bin/true\n"})
    assert found(host) == ["site0", "site2", "site3"]


def test_a_drop_in_for_all_companions_leaves_all_to_them(host: Path) -> None:
    write(host, {f"{UNITS}/sockreg-add@.service.d/old-kernel.conf": "[Service]\nUMask=0007\n"})
    assert found(host) == []


def test_a_drop_in_for_all_services_is_for_this_one_too(host: Path) -> None:
    write(host, {f"{UNITS}/service.d/limits.conf": "[Service]\nTasksMax=10\n"})
    assert found(host) == NAMES


@pytest.mark.parametrize(
    "name", ["site1.socket", "sockreg@site1.service", "sockreg-add@site1.service"]
)
def test_what_is_masked_does_not_start(host: Path, name: str) -> None:
    (host / UNITS / name).unlink(missing_ok=True)
    (host / UNITS / name).symlink_to("/dev/null")
    assert found(host) == ["site0", "site2", "site3"]


def test_a_link_to_nothing_undoes_what_is_enabled(host: Path) -> None:
    undone = host / "etc/systemd/system.control/sockets.target.wants"
    undone.mkdir(parents=True)
    (undone / "sockreg@site1.service").symlink_to("/dev/null")
    assert found(host) == ["site0", "site2", "site3"]


def test_only_what_a_boot_starts_is_registered_at_boot(host: Path) -> None:
    write(host, {f"{UNITS}/later.socket": SOCKET})
    enable(host, "later", by="later.socket")
    enable(host, "missing")
    assert found(host) == NAMES


def test_the_name_is_the_one_under_which_systemd_passes_the_socket(host: Path) -> None:
    write(host, {f"{UNITS}/site0.socket.d/a.conf": "[Socket]\nFileDescriptorName=%p one\n"})
    write(host, {f"{UNITS}/site1.socket.d/a.conf": "[Socket]\nFileDescriptorName=a:b\n"})
    write(host, {f"{UNITS}/site2.socket.d/a.conf": "[X-Sockreg]\nLabel=other\n"})
    assert boot_units.boot_units(str(host)) == [
        ("site0.socket", "site0 one"),
        ("site1.socket", "site1.socket"),  # systemd ignores the colon's name
        ("site2.socket", "site2.socket"),
        ("site3.socket", "site3.socket"),
    ]


def test_sockets_of_one_name_are_in_processes_of_their_own() -> None:
    """The name is all by which a process can tell them apart."""
    units = [(f"{label}{number}.socket", label) for number in range(6) for label in "abc"]
    batches = boot_units.sort_into_batches(units)
    assert len(batches) == boot_units.BATCHES_MAX
    for batch in batches:
        assert sorted(name for _, name in batch) == ["a", "b", "c"]
    assert len({unit for batch in batches for unit, _ in batch}) == 3 * boot_units.BATCHES_MAX


def test_few_sockets_are_left_to_their_companions() -> None:
    units = [(f"{number}.socket", f"{number}.socket") for number in range(boot_units.FEWEST)]
    assert boot_units.sort_into_batches(units[1:]) == []
    assert boot_units.sort_into_batches(units) == [units]


def test_the_names_of_one_process_fit_into_one_variable() -> None:
    units = [(f"{number:0240}.socket", f"{number:0240}.socket") for number in range(200)]
    batches = boot_units.sort_into_batches(units)
    assert sum(map(len, batches)) > 100
    for batch in batches:
        assert len(":".join(name for _, name in batch)) < boot_units.NAMES_MAX


def test_what_is_written_names_each_socket_once(host: Path, tmp_path: Path) -> None:
    generated = tmp_path / "generated"
    boot_units.write(str(generated), str(host))
    together = generated / "sockreg-boot@0.service.d"
    assert (together / "units").read_text().splitlines() == [
        f"{name}.socket {name}.socket" for name in NAMES
    ]
    assert (together / "units.conf").read_text().splitlines() == [
        "[Unit]",
        *(f"Before=sockreg-add@{name}.service" for name in NAMES),
        "[Service]",
        *(f"Sockets={name}.socket" for name in NAMES),
    ]
    assert (generated / "sockets.target.d/sockreg.conf").read_text().splitlines() == [
        "[Unit]",
        "Wants=sockreg-boot@0.service sockreg-booted.service",
    ]


def test_a_host_without_such_sockets_gets_nothing(tmp_path: Path) -> None:
    boot_units.write(str(tmp_path / "generated"), str(tmp_path))
    assert not (tmp_path / "generated").exists()
