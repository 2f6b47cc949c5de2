"""Commands that change something, each with a host on which it does."""

from __future__ import annotations

import contextlib
import io
import socket
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from unittest import mock

from sockreg.companion import boot, registering
from sockreg.errors import (
    EXIT_CONFIG,
    EXIT_FAILURE,
    EXIT_NOT_LOADED,
    EXIT_OK,
    EXIT_USAGE,
    SockregError,
)
from sockreg.host import detached
from sockreg.receive import connection as receiver
from sockreg.registry import pools, registration
from sockreg.registry.destinations import read_destinations
from sockreg.registry.locks import Lock
from sockreg.registry.maps import Maps
from sockreg.registry.members import members_of, read_members
from sockreg.terms import ONLY
from tests.kernel.host import Host
from tests.netns import Server

OLD = ["[old]", "Bind=tcp 192.0.2.0/24 80", "[new]", "Bind=tcp 192.0.2.0/24 443"]
NEW = ["[new]", "Bind=tcp 192.0.2.0/24 80", "[old]", "Bind=tcp 192.0.2.0/24 443"]
GONE = (EXIT_OK, EXIT_NOT_LOADED)
TUBULAR = "/etc/tubular.json"

_SHARED = 40

Entry = Callable[[Host, Sequence[tuple[str, Server]]], tuple[int, str]]


@dataclass(frozen=True, kw_only=True)
class Scenario:
    """``before`` makes the host, ``command`` are its arguments, {root} is the host's root.

    ``passes`` are the servers whose sockets it gets, under the label of the same name, as
    systemd passes them. ``repeat`` are the exit statuses of the command where it has nothing to
    do; None: it would do something else then.

    ``asked`` is how often each probe is sent, as members of a pool share it by chance.

    ``entry`` is what runs instead of the command line, and gets the passed sockets. Nobody
    sends it SIGINT.
    """

    name: str
    before: Callable[[Host, dict[str, Server]], object]
    command: Sequence[str]
    passes: Sequence[str] = ()
    repeat: Sequence[int] | None = (EXIT_OK,)
    environment: dict[str, str] = field(default_factory=dict)
    asked: int = 6
    entry: Entry | None = None

    def run(self, host: Host, servers: dict[str, Server]) -> tuple[int, str]:
        """Run the command; returns its exit status and what it printed."""
        if self.entry is not None:
            return self.entry(host, [(name.rstrip("12"), servers[name]) for name in self.passes])
        words = [
            word.format(root=host.root, pid=host.pid, end=int(time.time())) for word in self.command
        ]
        if self.passes:
            sockets = [(name.rstrip("12"), servers[name].sock) for name in self.passes]
            done = host.register(sockets, *words[1:])
        else:
            done = host.run(*words)
        return done.status, done.text


def configured(host: Host, _: dict[str, Server]) -> None:
    host.conf(*OLD)


def loaded(host: Host, servers: dict[str, Server]) -> None:
    host.load(*OLD)
    register(host, servers, "old", "new")


def register(host: Host, servers: dict[str, Server], *names: str, unit: str = "") -> None:
    for name in names:
        of = unit or f"{name}.socket"
        done = host.register([(name.rstrip("12"), servers[name].sock)], unit=of)
        assert done.status == EXIT_OK, done.text


def edited(host: Host, servers: dict[str, Server]) -> None:
    loaded(host, servers)
    host.conf(*NEW)


def kept(host: Host, servers: dict[str, Server]) -> None:
    host.conf(*OLD)
    host.ok("load", "--state", str(host.root / "state"))
    register(host, servers, "old", "new")
    host.conf(*NEW)


def applied(host: Host, servers: dict[str, Server]) -> None:
    edited(host, servers)
    host.ok("apply")


def on_trial(host: Host, servers: dict[str, Server]) -> None:
    edited(host, servers)
    host.ok("apply", "--confirm", "600")


def on_trial_and_edited(host: Host, servers: dict[str, Server]) -> None:
    on_trial(host, servers)
    host.conf(*OLD, "Bind=tcp 192.0.2.0/24 444")


def bound(host: Host, servers: dict[str, Server]) -> None:
    loaded(host, servers)
    host.ok("bind", "new", "tcp", "192.0.2.7", "80")


def pooled(host: Host, servers: dict[str, Server]) -> None:
    host.load(*OLD)
    register(host, servers, "new")
    pool(host, servers, "old", "old2")


def pooled_three(host: Host, servers: dict[str, Server]) -> None:
    host.load(*OLD)
    register(host, servers, "new")
    pool(host, servers, "old", "old2", "new2")


def pool(host: Host, servers: dict[str, Server], *names: str) -> None:
    for number, name in enumerate(names, 1):
        unit = f"old@{number}.socket"
        done = host.register([("old", servers[name].sock)], "--weight", "50", unit=unit)
        assert done.status == EXIT_OK, done.text


def with_interface(host: Host, servers: dict[str, Server]) -> None:
    host.namespace.run("ip", "link", "del", "there", check=False)
    host.namespace.run("ip", "link", "add", "there", "type", "veth", "peer", "name", "other")
    host.load(*OLD, "[new]", "Bind=tcp 192.0.2.0/24 80 dev there")
    register(host, servers, "old", "new")
    host.namespace.run("ip", "link", "del", "there")
    host.namespace.run("ip", "link", "add", "there", "type", "veth", "peer", "name", "other")


def with_sock_ops(host: Host, servers: dict[str, Server]) -> None:
    loaded(host, servers)
    host.ok("load", "--sock-ops")


def importable(host: Host, servers: dict[str, Server]) -> None:
    loaded(host, servers)
    path = Path(f"{host.root}{TUBULAR}")
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text('{"bindings": [{"label": "new", "port": 80, "prefix": "192.0.2.7/32"}]}')


def sticky(host: Host, servers: dict[str, Server]) -> None:
    loaded(host, servers)
    unit_file(host, "Flows=sticky")


def sticky_in_force(host: Host, servers: dict[str, Server]) -> None:
    sticky(host, servers)
    host.ok("apply", "--start", "old.socket")
    host.ok("apply")


def unit_file(host: Host, *lines: str) -> None:
    path = host.root / "etc/systemd/system/old.socket"
    path.parent.mkdir(parents=True, exist_ok=True)
    content = [
        "[Socket]",
        "ListenStream=127.0.0.1:8081",
        "ListenDatagram=127.0.0.1:8081",
        "FileDescriptorName=old",
        "[X-Sockreg]",
        "Bind=tcp 192.0.2.0/24 444",
        "Bind=udp 192.0.2.0/24 444",
        *lines,
        "",
    ]
    path.write_text("\n".join(content))


def stalled(host: Host, servers: dict[str, Server]) -> None:
    """The server of old@1.socket accepts again, which nobody has seen yet."""
    host.load(*OLD)
    unit_file(host, "Drain=stalled", "Weight=50")
    register(host, servers, "new")
    pool(host, servers, "old2")
    register(host, servers, "old")
    host.ok("apply", "--start", "old.socket")
    with Maps(str(host.registry)) as maps, Lock(str(host.registry)):
        slot = read_destinations(maps)["old", socket.AF_INET, socket.IPPROTO_TCP, ONLY]
        (member,) = (one for one in members_of(maps, slot) if one.unit == "old.socket")
        pools.weigh(maps, slot, member, member.weight, stalled=True)


def started(host: Host, servers: dict[str, Server]) -> None:
    loaded(host, servers)
    unit_file(host)
    host.ok("apply", "--start", "old.socket")


def with_unit(host: Host, servers: dict[str, Server]) -> None:
    installed(host, servers)
    unit_file(host)


def enabled(host: Host, servers: dict[str, Server]) -> None:
    with_unit(host, servers)
    host.ok("enable", "old", "--mode", "exec")


def installed(host: Host, servers: dict[str, Server]) -> None:
    loaded(host, servers)
    host.ok("install-units")


def given(host: Host, servers: dict[str, Server]) -> None:
    loaded(host, servers)
    (host.root / "given.conf").write_text("[new]\nBind=tcp 192.0.2.0/24 444\n")


def put(host: Host, servers: dict[str, Server]) -> None:
    loaded(host, servers)
    host.conf("[new]", "Bind=tcp 192.0.2.0/24 444", name="more.conf")
    host.ok("apply")


def ended(host: Host, servers: dict[str, Server]) -> None:
    """A rule has ended, and its timer comes."""
    loaded(host, servers)
    now = time.time()
    with (
        mock.patch.object(time, "time", return_value=now - 100),
        mock.patch.object(detached, "run"),  # nobody else ends it meanwhile
    ):
        host.ok("bind", "--for", "1s", "new", "tcp", "192.0.2.7", "80")


def at_boot(host: Host, _: dict[str, Server]) -> None:
    host.load(*OLD)
    drop_in = host.root / "run/sockreg-boot@all.service.d"
    drop_in.mkdir(parents=True)
    (drop_in / "units").write_text("old.socket old\nnew.socket new\n")


def received(host: Host, servers: dict[str, Server]) -> None:
    loaded(host, servers)
    host.ok("unregister", "old")
    status, answer = to_receiver(host, [("old", servers["old"])])
    assert status == EXIT_OK, answer


def to_companion(host: Host, sockets: Sequence[tuple[str, Server]]) -> tuple[int, str]:
    """What sockreg-add@old.socket does."""
    said = io.StringIO()
    with (
        host.passed([(name, server.sock) for name, server in sockets]),
        contextlib.redirect_stderr(said),
    ):
        try:
            registering.register("old.socket", str(host.bpffs), str(host.root))
        except SockregError as error:
            return error.status, error.line
        except OSError as error:  # its entry says it in the journal
            return EXIT_FAILURE, str(error)
    return EXIT_OK, said.getvalue()


def to_boot(host: Host, sockets: Sequence[tuple[str, Server]]) -> tuple[int, str]:
    """What sockreg-boot@all.service does."""
    with (
        contextlib.redirect_stderr(io.StringIO()),
        host.passed([(name, server.sock) for name, server in sockets]),
        mock.patch.object(boot, "_PLACES", (str(host.root / "run"),)),
    ):
        boot.register_all("all", str(host.bpffs), str(host.root))
    with Maps(str(host.registry)) as maps:
        registered = {member.unit for member in read_members(maps)}
    # What it leaves out, it leaves to the companions of these units without a word.
    return EXIT_OK if len(registered) == len(sockets) else EXIT_FAILURE, ""


def to_stop(host: Host, _: Sequence[tuple[str, Server]]) -> tuple[int, str]:
    """What sockreg@old.socket does as it stops, before its rules go."""
    try:
        with contextlib.redirect_stderr(io.StringIO()):
            registration.unregister(str(host.registry), unit="old.socket")
    except SockregError as error:
        return error.status, error.line
    except OSError as error:
        return EXIT_FAILURE, str(error)
    return EXIT_OK, ""


def to_receiver(host: Host, sockets: Sequence[tuple[str, Server]]) -> tuple[int, str]:
    """What sockreg-receive@.service does for a server that passes its sockets."""
    ((label, server),) = sockets
    peer, connection = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with peer, connection:
        socket.send_fds(peer, [f"{label}#".encode()], [server.sock.fileno()])
        with contextlib.redirect_stderr(io.StringIO()):
            status = receiver.serve(connection, str(host.bpffs), str(host.root))
        return status, peer.recv(4096).decode()


SCENARIOS = [
    Scenario(name="load", before=configured, command=["load"]),
    Scenario(name="load-again", before=edited, command=["load"]),
    Scenario(name="load-state", before=configured, command=["load", "--state", "{root}/state"]),
    Scenario(name="apply", before=edited, command=["apply"]),
    Scenario(name="apply-state", before=kept, command=["apply"]),
    Scenario(name="apply-nothing", before=applied, command=["apply"]),
    Scenario(name="apply-start", before=edited, command=["apply", "--start", "x.socket"]),
    Scenario(name="apply-interfaces", before=with_interface, command=["apply", "--interfaces"]),
    Scenario(
        name="apply-trial", before=edited, command=["apply", "--confirm", "600"], repeat=(EXIT_OK,)
    ),
    Scenario(
        name="apply-trial-again",
        before=on_trial_and_edited,
        command=["apply", "--confirm", "600"],
    ),
    Scenario(name="apply-in-trial", before=on_trial_and_edited, command=["apply"]),
    Scenario(name="confirm", before=on_trial, command=["confirm"], repeat=(1,)),
    Scenario(name="rollback", before=applied, command=["rollback"], repeat=None),
    Scenario(name="rollback-trial", before=on_trial, command=["rollback"], repeat=None),
    Scenario(name="bind", before=loaded, command=["bind", "new", "tcp", "192.0.2.7", "80"]),
    Scenario(
        name="bind-runtime",
        before=loaded,
        command=["bind", "--runtime", "new", "tcp", "192.0.2.7", "80"],
    ),
    Scenario(
        name="bind-replace",
        before=bound,
        command=["bind", "--replace", "old", "tcp", "192.0.2.7", "80"],
    ),
    Scenario(
        name="unbind",
        before=bound,
        command=["unbind", "new", "tcp", "192.0.2.7", "80"],
        repeat=(EXIT_OK, EXIT_CONFIG),
    ),
    Scenario(name="upgrade", before=loaded, command=["upgrade"]),
    Scenario(name="unload", before=loaded, command=["unload"], repeat=GONE),
    Scenario(name="unload-trial", before=on_trial, command=["unload"], repeat=GONE),
    Scenario(name="unload-keep", before=loaded, command=["unload", "--keep"]),
    Scenario(
        name="register",
        before=lambda host, _: host.load(*OLD),
        command=["register", "--unit", "old.socket"],
        passes=["old"],
    ),
    Scenario(
        name="register-replaces",
        before=loaded,
        command=["register", "--unit", "old.socket"],
        passes=["old2"],
    ),
    Scenario(
        name="register-pool",
        before=loaded,
        command=["register", "--unit", "old@2.socket", "--weight", "50", "--replace"],
        passes=["old2"],
    ),
    Scenario(
        name="register-two",
        before=lambda host, _: host.load(*OLD),
        command=["register", "--unit", "x.socket"],
        passes=["old", "new"],
    ),
    Scenario(
        name="unregister",
        before=loaded,
        command=["unregister", "old"],
        repeat=(EXIT_OK, 1, 2),
    ),
    Scenario(name="weight", before=loaded, command=["weight", "old", "7"]),
    Scenario(name="drain", before=loaded, command=["drain", "old"]),
    Scenario(name="metrics", before=loaded, command=["metrics", "--output", "{root}/metrics.prom"]),
    Scenario(name="report", before=loaded, command=["report", "--output", "{root}/report.html"]),
    Scenario(name="load-sock-ops", before=loaded, command=["load", "--sock-ops"]),
    Scenario(
        name="load-sock-ops-again",
        before=with_sock_ops,
        command=["load", "--sock-ops"],
    ),
    Scenario(
        name="unload-sock-ops",
        before=with_sock_ops,
        command=["unload", "--sock-ops"],
        repeat=(EXIT_OK, 1, 5),
    ),
    Scenario(
        name="import",
        before=importable,
        command=[
            "import",
            "tubular",
            f"{{root}}{TUBULAR}",
            "--force",
            "--output",
            "{root}/etc/sockreg/imported.conf",
        ],
    ),
    Scenario(
        name="bind-for",
        before=loaded,
        command=["bind", "--for", "1h", "new", "tcp", "192.0.2.7", "80"],
        repeat=None,
    ),
    Scenario(
        name="register-pid",
        before=lambda host, _: host.load(*OLD),
        command=["register", "old", "--pid", "{pid}", "--local", "127.0.0.1:8081"],
    ),
    Scenario(name="expect", before=with_sock_ops, command=["expect", "third"]),
    Scenario(name="trace", before=loaded, command=["trace", "--seconds", "0"]),
    Scenario(
        name="companion",
        before=lambda host, _: host.load(*OLD),
        command=["register"],
        passes=["old"],
        entry=to_companion,
    ),
    Scenario(
        name="companion-replaces",
        before=loaded,
        command=["register"],
        passes=["old2"],
        entry=to_companion,
    ),
    Scenario(
        name="receive",
        before=lambda host, _: host.load(*OLD),
        command=["register"],
        passes=["old"],
        entry=to_receiver,
    ),
    Scenario(
        name="receive-replaces",
        before=received,
        command=["register"],
        passes=["old2"],
        entry=to_receiver,
    ),
    Scenario(name="apply-sticky", before=sticky, command=["apply", "--start", "old.socket"]),
    Scenario(
        name="register-sticky",
        before=sticky_in_force,
        command=["register", "--unit", "old.socket"],
        passes=["old2"],
    ),
    Scenario(name="drain-sticky", before=sticky_in_force, command=["drain", "old"]),
    Scenario(
        name="drain-one", before=pooled, command=["drain", "old", "old@1.socket"], asked=_SHARED
    ),
    Scenario(
        name="weight-one",
        before=pooled,
        command=["weight", "old", "40", "--unit", "old@1.socket"],
        asked=_SHARED,
    ),
    Scenario(
        name="unregister-one",
        before=pooled_three,
        command=["unregister", "old", "--unit", "old@3.socket"],
        repeat=(EXIT_OK, EXIT_USAGE, EXIT_FAILURE),
        asked=_SHARED,
    ),
    Scenario(name="drain-stalled", before=stalled, command=["drain", "--stalled"], asked=_SHARED),
    Scenario(name="apply-stop", before=started, command=["apply", "--stop", "old.socket"]),
    Scenario(
        name="apply-put",
        before=given,
        command=["apply", "--put", "{root}/etc/sockreg/more.conf", "{root}/given.conf"],
    ),
    Scenario(
        name="apply-remove",
        before=put,
        command=["apply", "--remove", "{root}/etc/sockreg/more.conf"],
    ),
    Scenario(name="apply-ended", before=ended, command=["apply", "--ended", "{end}"]),
    Scenario(
        name="boot",
        before=at_boot,
        command=["register"],
        passes=["old", "new"],
        entry=to_boot,
    ),
    Scenario(name="companion-stops", before=loaded, command=["unregister"], entry=to_stop),
    # Below another root than that of systemd, these only change files.
    Scenario(name="enable", before=with_unit, command=["enable", "old", "--mode", "exec"]),
    Scenario(name="disable", before=enabled, command=["disable", "old"]),
    Scenario(name="install-units", before=loaded, command=["install-units"]),
    Scenario(name="uninstall-units", before=installed, command=["uninstall-units"]),
]
