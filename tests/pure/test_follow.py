"""What sockreg-etcd.service makes of keys, answers and its environment."""

from __future__ import annotations

import base64
import json
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from sockreg.errors import ConfigError, UsageError
from sockreg.follow import files, settings
from sockreg.follow.gateway import Gateway, UnreachableError
from sockreg.follow.settings import Settings
from tests.process import run

# The path and body of a question -> the status and the lines of an answer.
Answers = Callable[[str, dict[str, object]], tuple[int, list[str]]]


def given(*endpoints: str, **variables: str) -> Settings:
    return settings.read({"SOCKREG_ETCD": " ".join(endpoints), **variables})


@contextmanager
def member(answers: Answers, tls: ssl.SSLContext | None = None) -> Iterator[str]:
    """Something that answers like a member of etcd; yields its URL."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            length = int(self.headers["Content-Length"])
            body = json.loads(self.rfile.read(length))
            body["token"] = self.headers.get("Authorization", "")
            status, lines = answers(self.path, body)
            text = "".join(f"{line}\n" for line in lines).encode()
            self.send_response(status)
            self.send_header("Content-Length", str(len(text)))
            self.end_headers()
            self.wfile.write(text)

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        if tls is not None:
            server.socket = tls.wrap_socket(server.socket, server_side=True)
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield f"http{'s' if tls else ''}://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()


def found(revision: int, **values: str) -> str:
    encoded = {
        f"/sockreg/rules/{name}": base64.b64encode(value.encode()).decode()
        for name, value in values.items()
    }
    kvs = [
        {"key": base64.b64encode(key.encode()).decode(), "value": value}
        for key, value in encoded.items()
    ]
    return json.dumps({"header": {"revision": str(revision)}, "kvs": kvs})


def test_keys_are_files() -> None:
    wanted = files.wanted({"web.conf": b"[web]\n", "plain": b"\xff"})
    assert wanted == {
        "/etc/sockreg/etcd-web.conf": "[web]\n",
        "/etc/sockreg/etcd-plain.conf": "\udcff",
    }
    for name in ("", "../x", "a/b", ".hidden", "a b", "ä", "x" * 300, "a\nb"):
        with pytest.raises(ConfigError):
            files.wanted({name: b""})
    with pytest.raises(ConfigError, match="two keys"):
        files.wanted({"web": b"", "web.conf": b""})


def test_what_to_write() -> None:
    assert files.changes({"a": "1", "b": "2"}, {"b": "3", "c": ""}) == {
        "a": None,
        "b": "3",
        "c": "",
    }
    assert files.changes({"a": "1"}, {"a": "1"}) == {}
    digests = [files.digest(it) for it in ({}, {"/x/a": "b"}, {"/x/ab": ""}, {"/x/a": "c"})]
    assert len(set(digests)) == 4
    assert files.digest({"/x/a": "b"}) == files.digest({"/y/a": "b"})


@pytest.mark.parametrize(
    ("variables", "said"),
    [
        ({}, "names no member"),
        ({"SOCKREG_ETCD": "10.0.0.1:2379"}, "not the URL"),
        ({"SOCKREG_ETCD": "http://10.0.0.1"}, "not the URL"),
        ({"SOCKREG_ETCD": "http://[::1:2379"}, "not the URL"),
        ({"SOCKREG_ETCD": "http://10.0.0.1:99999"}, "not the URL"),
        ({"SOCKREG_ETCD": "http://a:1", "SOCKREG_ETCD_CONFIRM": "0"}, "number of seconds"),
        ({"SOCKREG_ETCD": "http://a:1", "SOCKREG_ETCD_CONFIRM": "1e3"}, "number of seconds"),
    ],
)
def test_a_wrong_environment(variables: dict[str, str], said: str) -> None:
    with pytest.raises(UsageError, match=said):
        settings.read(variables)


def test_names_of_keys() -> None:
    one = given("http://a:1", SOCKREG_ETCD_PREFIX="/blue", SOCKREG_ETCD_HOST="h")
    assert (one.rules, one.report) == ("/blue/rules/", "/blue/hosts/h")


def test_a_member_that_does_not_answer_is_left_for_the_next() -> None:
    def broken(path: str, body: dict[str, object]) -> tuple[int, list[str]]:
        return 503, ['{"error": "etcdserver: no leader", "code": 14}']

    def well(path: str, body: dict[str, object]) -> tuple[int, list[str]]:
        assert path == "/v3/kv/range"
        assert base64.b64decode(str(body["key"])) == b"/sockreg/rules/"
        assert base64.b64decode(str(body["range_end"])) == b"/sockreg/rules0"
        return 200, [found(7, web="x", empty="")]

    with member(broken) as one, member(well) as two:
        gateway = Gateway(given("http://127.0.0.1:9", one, two))
        assert gateway.read("/sockreg/rules/") == (7, {"web": b"x", "empty": b""})
        with pytest.raises(UnreachableError, match="no leader"):
            Gateway(given(one)).read("/sockreg/rules/")


@pytest.mark.parametrize(
    "text", ["", "no JSON", "[]", "{}", '{"header": {}}', '{"header": {"revision": "1"}, "kvs": 3}',
             '{"header": {"revision": "1"}, "kvs": [{"key": "%%%"}]}', "\x00", "<html></html>"],
)  # fmt: skip
def test_what_is_no_answer_of_etcd_is_refused(text: str) -> None:
    with member(lambda *_: (200, [text])) as one, pytest.raises(UnreachableError):
        Gateway(given(one)).read("/sockreg/rules/")


def test_changes() -> None:
    created = '{"result": {"header": {}, "created": true}}'
    event = '{"result": {"header": {}, "events": [{"kv": {}}]}}'
    compacted = '{"result": {"header": {}, "canceled": true, "compact_revision": "9"}}'
    for lines in ([created, event], [created, compacted]):
        with member(lambda *_, lines=lines: (200, lines)) as one:
            assert Gateway(given(one)).changes("/sockreg/rules/", 3, 5)
    for lines in ([], [created], [created, "nonsense"], ['{"error": {"message": "no"}}']):
        with (
            member(lambda *_, lines=lines: (200, lines)) as one,
            pytest.raises(UnreachableError),
        ):
            Gateway(given(one)).changes("/sockreg/rules/", 3, 5)


def test_a_token_that_has_expired_is_renewed() -> None:
    tokens = iter(("first", "second"))
    valid = {"first"}

    def answers(path: str, body: dict[str, object]) -> tuple[int, list[str]]:
        if path == "/v3/auth/authenticate":
            assert (body["name"], body["password"]) == ("host", "secret")
            return 200, [json.dumps({"token": next(tokens)})]
        if body["token"] not in valid:
            return 401, ['{"error": "etcdserver: invalid auth token"}']
        return 200, [found(1)]

    with member(answers) as one:
        gateway = Gateway(given(one, SOCKREG_ETCD_USER="host", SOCKREG_ETCD_PASSWORD="secret"))
        gateway.read("/sockreg/rules/")
        valid = {"second"}
        with pytest.raises(UnreachableError, match="invalid auth token"):
            gateway.read("/sockreg/rules/")
        gateway.read("/sockreg/rules/")


def test_tls_and_whom_it_trusts(tmp_path: Path) -> None:
    own, other = (certificate(tmp_path / name) for name in ("own", "other"))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*own)
    with member(lambda *_: (200, [found(3, web="x")]), context) as one:
        trusting = given(one, SOCKREG_ETCD_CA=str(own[0]))
        assert Gateway(trusting).read("/sockreg/rules/") == (3, {"web": b"x"})
        for ca in (str(other[0]), ""):
            with pytest.raises(UnreachableError, match="certificate verify failed"):
                Gateway(given(one, SOCKREG_ETCD_CA=ca)).read("/sockreg/rules/")


def certificate(directory: Path) -> tuple[Path, Path]:
    """A certificate of 127.0.0.1 that has signed itself, and its key."""
    directory.mkdir()
    paths = directory / "certificate.pem", directory / "key.pem"
    command = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256"]
    command += ["-nodes", "-days", "2", "-subj", "/CN=etcd", "-addext"]
    command += ["subjectAltName=IP:127.0.0.1", "-out", str(paths[0]), "-keyout", str(paths[1])]
    run(command)
    return paths
