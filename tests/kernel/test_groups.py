"""SO_REUSEPORT groups: any socket of a group that is left serves its label."""

from __future__ import annotations

import signal
import socket
import subprocess
from contextlib import ExitStack
from pathlib import Path

import pytest

from sockreg.errors import EXIT_OK
from tests.kernel.host import Host
from tests.kernel.opener import opener
from tests.netns import TCP, UDP
from tests.netns.server import Server

SAME = "tcp 127.0.0.1 8080 reuseport"
RULES = ("[web]", "Bind=tcp 192.0.2.0/24 80", "Bind=udp 192.0.2.0/24 80",
         "Bind=tcp 2001:db8::/32 80", "Bind=udp 2001:db8::/32 80")  # fmt: skip
BOTH = pytest.mark.parametrize("protocol", [TCP, UDP])
EVERYWHERE = pytest.mark.parametrize(
    ("protocol", "address", "asked"),
    [
        (protocol, address, asked)
        for protocol in (TCP, UDP)
        for address, asked in (("127.0.0.1", "192.0.2.7"), ("::1", "2001:db8::7"))
    ],
)


@pytest.fixture
def loaded(host: Host) -> Host:
    host.load(*RULES)
    return host


def group(stack: ExitStack, host: Host, protocol: int, address: str, count: int) -> list[Server]:
    return [
        stack.enter_context(
            host.namespace.serve(f"worker{number}", address, 8080, protocol, reuseport=True)
        )
        for number in range(count)
    ]


def sockets(host: Host, label: str = "web") -> list[str]:
    """The cookies that ``status`` shows, one for each unit and destination."""
    return [
        str(member["cookie"])
        for destination in host.json("status")["destinations"]
        if destination["label"] == label
        for member in destination["members"]
    ]


@EVERYWHERE
def test_the_first_of_a_group_closes(loaded: Host, protocol: int, address: str, asked: str) -> None:
    with ExitStack() as stack:
        workers = group(stack, loaded, protocol, address, 3)
        done = loaded.register([("web", worker.sock) for worker in workers], unit="web.socket")
        assert done.status == EXIT_OK
        assert "FileDescriptorName" not in done.err
        assert "skipped" not in done.err
        left = {worker.name for worker in workers}
        for worker in workers[:2]:
            assert {loaded.ask(asked, 80, protocol) for _ in range(60)} == left
            worker.close()
            left.discard(worker.name)
        assert {loaded.ask(asked, 80, protocol) for _ in range(20)} == {"worker2"}
        assert len(sockets(loaded)) == 1
        told = loaded.ok("explain", "tcp" if protocol == TCP else "udp", asked, "80")
        assert "web.socket" in told
        workers[2].close()
        assert loaded.ask(asked, 80, protocol) == "refused"
        assert sockets(loaded) == []


@BOTH
def test_a_group_that_grows_is_joined_at_the_next_look(loaded: Host, protocol: int) -> None:
    with ExitStack() as stack:
        (first,) = group(stack, loaded, protocol, "127.0.0.1", 1)
        loaded.register([("web", first.sock)], unit="web.socket")
        second = stack.enter_context(
            loaded.namespace.serve("later", "127.0.0.1", 8080, protocol, reuseport=True)
        )
        told = loaded.register([("web", second.sock)], unit="web.socket")
        assert told.status == EXIT_OK
        assert "replaces" not in told.err
        assert ", beside earlier sockets of its SO_REUSEPORT group" in told.err
        again = loaded.register([("web", second.sock)], unit="web.socket")
        assert "is registered already" in again.err
        first.close()
        assert loaded.ask("192.0.2.7", 80, protocol) == "later"


def test_another_address_replaces_the_whole_group(loaded: Host) -> None:
    with ExitStack() as stack:
        workers = group(stack, loaded, TCP, "127.0.0.1", 2)
        loaded.register([("web", worker.sock) for worker in workers], unit="web.socket")
        other = stack.enter_context(loaded.namespace.serve("other", "127.0.0.1", 9090))
        told = loaded.register([("web", other.sock)], unit="web.socket")
        assert "replaces" in told.err
        assert {loaded.ask("192.0.2.7", 80) for _ in range(20)} == {"other"}
        other.close()
        assert loaded.ask("192.0.2.7", 80) == "refused"


def test_a_worker_of_a_process_closes(loaded: Host) -> None:
    with (
        opener(loaded.namespace, "master", SAME, SAME, SAME) as master,
    ):
        loaded.ok("register", "web", "--pid", str(master.pid))
        assert loaded.ask("192.0.2.7", 80) == "master"
        for _ in range(2):
            master.do("close-first")
            assert loaded.ask("192.0.2.7", 80) == "master"


def test_the_only_one_that_left_the_group_of_several_processes(loaded: Host) -> None:
    with opener(loaded.namespace, "one", SAME) as one:
        loaded.ok("register", "web", "--pid", str(one.pid), "--unit", "web.service")
        with opener(loaded.namespace, "two", SAME) as two:
            loaded.ok("register", "web", "--pid", str(two.pid), "--unit", "web.service")
            assert {loaded.ask("192.0.2.7", 80) for _ in range(60)} == {"one", "two"}
        assert {loaded.ask("192.0.2.7", 80) for _ in range(20)} == {"one"}


@BOTH
def test_a_group_keeps_its_share_of_a_pool(loaded: Host, protocol: int) -> None:
    with ExitStack() as stack:
        workers = group(stack, loaded, protocol, "127.0.0.1", 3)
        loaded.register([("web", worker.sock) for worker in workers], unit="web@1.socket")
        other = stack.enter_context(loaded.namespace.serve("other", "127.0.0.1", 9090, protocol))
        loaded.register([("web", other.sock)], unit="web@2.socket")
        asked = {loaded.ask("192.0.2.7", 80, protocol) for _ in range(100)}
        assert asked == {"worker0", "worker1", "worker2", "other"}
        workers[0].close()
        asked = {loaded.ask("192.0.2.7", 80, protocol) for _ in range(100)}
        assert asked == {"worker1", "worker2", "other"}
        other.close()
        workers[1].close()
        assert {loaded.ask("192.0.2.7", 80, protocol) for _ in range(20)} == {"worker2"}


def test_a_drained_group_gets_nothing(loaded: Host) -> None:
    with ExitStack() as stack:
        workers = group(stack, loaded, TCP, "127.0.0.1", 2)
        loaded.register([("web", worker.sock) for worker in workers], unit="web.socket")
        loaded.ok("drain", "web")
        assert loaded.ask("192.0.2.7", 80) == "refused"
        workers[0].close()
        assert loaded.ask("192.0.2.7", 80) == "refused"
        loaded.ok("weight", "web", "1")
        assert loaded.ask("192.0.2.7", 80) == "worker1"
        loaded.ok("unregister", "web")
        assert loaded.ask("192.0.2.7", 80) == "refused"


def test_more_sockets_than_are_kept(loaded: Host) -> None:
    with ExitStack() as stack:
        workers = group(stack, loaded, UDP, "127.0.0.1", 100)
        done = loaded.register([("web", worker.sock) for worker in workers], unit="web.socket")
        assert done.status == EXIT_OK
        for worker in workers[:20]:
            worker.close()
        assert loaded.ask("192.0.2.7", 80, UDP).startswith("worker")


def test_ordinary_twins_of_udp_are_no_group(loaded: Host) -> None:
    """With SO_REUSEADDR, the kernel gives all to one of them: the newer registration counts."""

    def twin() -> socket.socket:
        sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.bind(("127.0.0.1", 8080))
        return sock

    with loaded.namespace.entered(), twin() as one, twin() as two:
        loaded.register([("web", one)], unit="web.socket")
        assert "replaces" in loaded.register([("web", two)], unit="web.socket").err


@pytest.mark.parametrize("again", [False, True], ids=["left alone", "registered again"])
def test_nginx_with_fewer_workers_after_a_reload(
    loaded: Host, tmp_path: Path, *, again: bool
) -> None:
    conf = tmp_path / "nginx.conf"

    def configure(workers: int) -> None:
        conf.write_text(
            f"daemon off; pid {tmp_path}/pid; error_log stderr; user root;\n"
            f"worker_processes {workers};\n"
            "events {}\nhttp { access_log off; server { listen 127.0.0.1:8080 reuseport;\n"
            f'location / {{ return 200 "{workers} workers"; }} }} }}\n'
        )

    def get() -> str:
        return loaded.ask("192.0.2.7", 80, request=b"GET / HTTP/1.0\r\n\r\n").rpartition("\n")[2]

    configure(4)
    with loaded.namespace.entered():
        nginx = subprocess.Popen(["nginx", "-c", str(conf), "-e", "stderr"])
    try:
        loaded.ok("register", "web", "--pid", str(nginx.pid))
        for workers in (1, 3, 2):
            configure(workers)
            nginx.send_signal(signal.SIGHUP)
            # The earlier workers go on for a moment.
            while {get() for _ in range(30)} != {f"{workers} workers"}:
                pass
            if again:
                loaded.ok("register", "web", "--pid", str(nginx.pid))
                assert get() == f"{workers} workers"
    finally:
        nginx.terminate()
        nginx.wait()


# Without the group


@EVERYWHERE
def test_a_socket_without_its_group(loaded: Host, protocol: int, address: str, asked: str) -> None:
    with ExitStack() as stack:
        workers = group(stack, loaded, protocol, address, 3)
        done = loaded.register([("web", workers[1].sock)], "--no-reuseport", unit="web.socket")
        assert done.status == EXIT_OK
        assert {loaded.ask(asked, 80, protocol) for _ in range(60)} == {"worker1"}
        # Ordinary lookup still spreads over the group.
        assert len({loaded.namespace.ask(address, 8080, protocol) for _ in range(60)}) > 1
        loaded.ok("drain", "web")
        assert loaded.ask(asked, 80, protocol) == "refused"
        loaded.ok("weight", "web", "1")
        assert {loaded.ask(asked, 80, protocol) for _ in range(20)} == {"worker1"}
        loaded.register([("web", workers[1].sock)], unit="web.socket")
        assert {loaded.ask(asked, 80, protocol) for _ in range(60)} == {
            "worker0",
            "worker1",
            "worker2",
        }


def test_a_new_socket_without_its_group_takes_over(loaded: Host) -> None:
    with ExitStack() as stack:
        for worker in group(stack, loaded, TCP, "127.0.0.1", 2):
            loaded.register([("web", worker.sock)], "--no-reuseport", unit="web.socket")
            assert {loaded.ask("192.0.2.7", 80) for _ in range(30)} == {worker.name}


def test_the_whole_pool_is_without_groups(loaded: Host) -> None:
    with ExitStack() as stack:
        workers = group(stack, loaded, TCP, "127.0.0.1", 2)
        loaded.register([("web", workers[0].sock)], "--no-reuseport", unit="web@1.socket")
        other = stack.enter_context(loaded.namespace.serve("other", "127.0.0.1", 9090))
        loaded.register([("web", other.sock)], unit="web@2.socket")
        assert {loaded.ask("192.0.2.7", 80) for _ in range(100)} == {"worker0", "other"}


def test_mates_serve_one_after_another_without_the_group(loaded: Host) -> None:
    with ExitStack() as stack:
        workers = group(stack, loaded, TCP, "127.0.0.1", 3)
        loaded.register(
            [("web", worker.sock) for worker in workers], "--no-reuseport", unit="web.socket"
        )
        for worker in workers:
            assert {loaded.ask("192.0.2.7", 80) for _ in range(30)} == {worker.name}
            worker.close()
        assert loaded.ask("192.0.2.7", 80) == "refused"


def test_a_unit_says_that_it_is_meant_without_its_group(host: Host) -> None:
    unit = host.root / "etc/systemd/system/web.socket"

    def write(*lines: str) -> None:
        unit.parent.mkdir(parents=True, exist_ok=True)
        unit.write_text(
            "[Socket]\nListenStream=127.0.0.1:8080\nReusePort=yes\nFileDescriptorName=web\n"
            + "\n".join(["[X-Sockreg]", "Bind=tcp 192.0.2.0/24 80", *lines, ""])
        )

    write("Reuseport=no")
    host.load()
    with ExitStack() as stack:
        workers = group(stack, host, TCP, "127.0.0.1", 2)
        assert host.register([("web", workers[0].sock)], unit="web.socket").status == EXIT_OK
        host.ok("apply", "--start", "web.socket")

        def answers() -> set[str]:
            return {host.ask("192.0.2.7", 80) for _ in range(60)}

        assert answers() == {"worker0"}
        write()
        host.ok("apply")
        assert answers() == {"worker0", "worker1"}
        write("Reuseport=no")
        host.ok("apply")
        assert answers() == {"worker0"}
        write("Reuseport=perhaps")
        assert "'yes' or 'no' expected" in host.run("apply").err
        assert answers() == {"worker0"}


@BOTH
def test_no_socket_of_a_registered_group_is_in_the_shadow(host: Host, protocol: int) -> None:
    """Their traffic is their own, whichever of them is registered; a stranger's is taken away."""
    name = "tcp" if protocol == TCP else "udp"
    host.load("[web]", f"Bind={name} 192.0.2.0/24 8080", f"Reject={name} 0.0.0.0/0 8080")
    with ExitStack() as stack:
        workers = group(stack, host, protocol, "0.0.0.0", 3)
        host.register([("web", workers[0].sock)], unit="web.socket")
        assert {host.ask("192.0.2.7", 8080, protocol) for _ in range(60)} == {
            worker.name for worker in workers
        }
        assert "shadowed-listener" not in host.run("--json", "check").out
        shown = [it for it in host.json("listeners")["listeners"] if it["port"] == 8080]
        assert [it["labels"] for it in shown] == [["web"]] * 3
        host.register([("web", workers[0].sock)], "--no-reuseport", unit="web.socket")
        shown = [it for it in host.json("listeners")["listeners"] if it["port"] == 8080]
        assert sorted(it["labels"] for it in shown) == [[], [], ["web"]]
        assert "shadowed-listener" in host.run("--json", "check").out
