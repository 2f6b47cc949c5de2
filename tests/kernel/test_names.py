"""Names and numbers that no sensible person writes: no command dies of them."""

from __future__ import annotations

import os

import pytest

from sockreg.errors import EXIT_CONFIG, EXIT_OK, EXIT_USAGE
from tests.kernel.host import Host
from tests.tree import ROOT

LONG = "9" * 5000  # int(3) of Python refuses more than 4300 digits
STRICT = {"PYTHONIOENCODING": "utf-8:strict"}  # as in most locales but C


@pytest.mark.parametrize("line", [f"ListenStream={LONG}", f"ListenStream=[::]:{LONG}"])
def test_a_unit_with_a_number_without_end(host: Host, line: str) -> None:
    directory = host.root / "etc/systemd/system"
    wants = directory / "sockets.target.wants"
    wants.mkdir(parents=True)
    (directory / "big.socket").write_text(f"[Socket]\n{line}\n[X-Sockreg]\nWeight={LONG}\n")
    (wants / "sockreg@big.service").symlink_to("/usr/lib/systemd/system/sockreg@.service")
    host.load("[web]", "Bind=tcp 192.0.2.0/24 80")
    with host.serve("web", "127.0.0.1", 8080):
        assert host.ask("192.0.2.7", 80) == "web"
    assert host.run("check").status == EXIT_CONFIG


def test_sshd_with_a_number_without_end(host: Host) -> None:
    path = host.root / "etc/ssh/sshd_config"
    path.parent.mkdir(parents=True)
    path.write_text(f"Port {LONG}\nListenAddress 192.0.2.1:{LONG}\n")
    host.load("[web]", "Bind=tcp 192.0.2.0/24 80")


def test_commands_with_a_number_without_end(host: Host) -> None:
    host.load("[web]", "Bind=tcp 192.0.2.0/24 80")
    host.fails(EXIT_USAGE, "rollback", "--unconfirmed", f"1-{LONG}")
    assert host.run("explain", "tcp", "192.0.2.7", LONG).status == EXIT_USAGE
    host.fails(EXIT_USAGE, "register", "web", "--pid", "1", "--local", f":{LONG}")


def test_a_file_whose_name_is_in_another_encoding(host: Host) -> None:
    path = os.fsencode(host.root) + b"/etc/sockreg/\xff.conf"
    host.conf("[web]", "Bind=tcp 192.0.2.0/24 80")
    with open(path, "wb") as file:
        file.write(b"[web]\nBind=bad\n")
    assert host.process("load", env=STRICT).status == EXIT_OK
    assert r"/etc/sockreg/\udcff.conf:2: " in host.process("status", env=STRICT, check=True).out
    checked = host.process("check", env=STRICT)
    assert checked.status == EXIT_CONFIG
    assert r"/etc/sockreg/\udcff.conf:2" in checked.out
    with open(path, "wb") as file:
        file.write(b"[web]\nBind=tcp 192.0.2.0/24 82\n")
    host.process("apply", env=STRICT, check=True)
    for words in (["rules"], ["listeners"], ["explain", "tcp", "192.0.2.7", "82"]):
        assert r"\udcff.conf:2" in host.process(*words, env=STRICT, check=True).out


def test_in_a_directory_that_is_gone(host: Host) -> None:
    gone = 'cd "$(mktemp -d)" && rmdir "$PWD" && exec "$@"'
    prefix = ["/bin/sh", "-c", gone, "sh"]
    host.load("[web]", "Bind=tcp 192.0.2.0/24 80")
    for words in (["apply"], ["status"], ["bind", "web", "tcp", "192.0.2.0/24", "81"]):
        host.process(*words, prefix=prefix, env={"PYTHONPATH": str(ROOT)}, check=True)
