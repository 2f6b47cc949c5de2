"""Which address and port servers take for their own: the kernel's, or the one they were bound to.

The kernel gives an accepted socket the address and port that the client connected to. A server that
asks, by getsockname(2), sees them. One that knows its address from its configuration does not ask.
"""

from __future__ import annotations

import subprocess
import threading
import wsgiref.simple_server
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from sockreg.errors import EXIT_OK
from tests.kernel.host import Host

RULES = (
    "[web]",
    "Bind=tcp 192.0.2.0/24 80",
    "Bind=tcp 2001:db8::/64 80",
)
ADDRESSES = ("192.0.2.7", "2001:db8::7")


@pytest.fixture(autouse=True)
def _loaded(host: Host) -> None:
    host.load(*RULES)


@contextmanager
def nginx(host: Host, directory: Path, *lines: str) -> Iterator[None]:
    """nginx with these lines in its server block, registered under label web."""
    conf = directory / "nginx.conf"
    conf.write_text(
        f"daemon off; pid {directory}/pid; error_log stderr; user root; worker_processes 1;\n"
        "events {}\nhttp { access_log off; server {\n"
        + "\n".join(lines)
        + '\nlocation / { return 200 "$server_addr $server_port"; }\n'
        "location = /dir { return 301 /dir/; }\n} }\n"
    )
    with host.namespace.entered():
        process = subprocess.Popen(["nginx", "-c", str(conf), "-e", "stderr"])
    try:
        host.ok("register", "web", "--pid", str(process.pid), "--local", ":8080")
        yield
    finally:
        process.terminate()
        process.wait()


def get(host: Host, address: str, path: str = "/") -> str:
    return host.ask(
        address,
        80,
        request=f"GET {path} HTTP/1.1\r\nHost: site\r\nConnection: close\r\n\r\n".encode(),
    )


def location(answer: str) -> str:
    (line,) = [line for line in answer.splitlines() if line.startswith("Location: ")]
    return line.removeprefix("Location: ").strip()


@pytest.mark.parametrize(
    ("bind", "address"),
    [("127.0.0.1", "192.0.2.7"), ("0.0.0.0", "192.0.2.7"), ("::1", "2001:db8::7")],
)
def test_the_kernel_tells_the_address_of_the_client(host: Host, bind: str, address: str) -> None:
    seen: list[tuple[str, int]] = []

    def serve() -> None:
        connection, _ = sock.accept()
        with connection:
            seen.append(connection.getsockname()[:2])
            connection.sendall(b"seen")

    with host.namespace.listen(bind, 8080) as sock:
        assert host.register([("web", sock)]).status == EXIT_OK
        thread = threading.Thread(target=serve)
        thread.start()
        assert host.ask(address, 80) == "seen"
        thread.join()
    assert seen == [(address, 80)]


def test_nginx_bound_to_an_address_says_that_one(host: Host, tmp_path: Path) -> None:
    with nginx(host, tmp_path, "listen 127.0.0.1:8080;", "listen [::1]:8080;"):
        assert get(host, "192.0.2.7").endswith("127.0.0.1 8080")
        assert get(host, "2001:db8::7").endswith("::1 8080")
        # Its clients are sent to a port where there is nothing.
        assert location(get(host, "192.0.2.7", "/dir")) == "http://site:8080/dir/"
    assert host.ask("192.0.2.7", 8080) == "refused"


@pytest.mark.parametrize("line", ["absolute_redirect off;", "port_in_redirect off;"])
def test_redirects_of_nginx_without_its_own_port(host: Host, tmp_path: Path, line: str) -> None:
    with nginx(host, tmp_path, "listen 127.0.0.1:8080;", line):
        target = "/dir/" if line.startswith("absolute") else "http://site/dir/"
        assert location(get(host, "192.0.2.7", "/dir")) == target


def test_nginx_bound_to_all_addresses_asks_the_kernel_for_variables(
    host: Host, tmp_path: Path
) -> None:
    with nginx(host, tmp_path, "listen 8080;", "listen [::]:8080;"):
        for address in ADDRESSES:
            assert get(host, address).endswith(f"{address} 80")
            # For redirects it does not.
            assert location(get(host, address, "/dir")) == "http://site:8080/dir/"


def test_a_wsgi_server_says_what_it_was_bound_to(host: Host) -> None:
    def application(
        environ: dict[str, str], start_response: Callable[[str, list[tuple[str, str]]], object]
    ) -> list[bytes]:
        start_response("200 OK", [])
        return [f"port {environ['SERVER_PORT']} host {environ.get('HTTP_HOST')}".encode()]

    class Quiet(wsgiref.simple_server.WSGIRequestHandler):
        def log_message(self, *_: object) -> None:
            pass

    with host.namespace.entered():
        server = wsgiref.simple_server.make_server(
            "127.0.0.1", 8080, application, handler_class=Quiet
        )
    with server:
        assert host.register([("web", server.socket)]).status == EXIT_OK
        thread = threading.Thread(target=server.handle_request)
        thread.start()
        answer = get(host, "192.0.2.7")
        thread.join()
    # Host: is the client's word, and has the port that the client used.
    assert answer.endswith("port 8080 host site")
