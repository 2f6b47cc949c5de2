"""Commands that change something, each with a host on which it does."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from sockreg.errors import EXIT_CONFIG, EXIT_NOT_LOADED, EXIT_OK
from tests.kernel.host import Host
from tests.netns import Server

OLD = ["[old]", "Bind=tcp 192.0.2.0/24 80", "[new]", "Bind=tcp 192.0.2.0/24 443"]
NEW = ["[new]", "Bind=tcp 192.0.2.0/24 80", "[old]", "Bind=tcp 192.0.2.0/24 443"]
GONE = (EXIT_OK, EXIT_NOT_LOADED)
TUBULAR = "/etc/tubular.json"


@dataclass(frozen=True, kw_only=True)
class Scenario:
    """``before`` makes the host, ``command`` are its arguments, {root} is the host's root.

    ``passes`` are the servers whose sockets it gets, under the label of the same name, as
    systemd passes them. ``repeat`` are the exit statuses of the command where it has nothing to
    do; None: it would do something else then.
    """

    name: str
    before: Callable[[Host, dict[str, Server]], object]
    command: Sequence[str]
    passes: Sequence[str] = ()
    repeat: Sequence[int] | None = (EXIT_OK,)
    environment: dict[str, str] = field(default_factory=dict)

    def run(self, host: Host, servers: dict[str, Server]) -> tuple[int, str]:
        """Run the command; returns its exit status and what it printed."""
        words = [word.format(root=host.root, pid=host.pid) for word in self.command]
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
    loaded(host, servers)
    register(host, servers, "new2")


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
]
