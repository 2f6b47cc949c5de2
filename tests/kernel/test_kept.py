"""What was last in force is kept on disk, and as much as fits comes into force."""

from __future__ import annotations

from pathlib import Path

import pytest

import sockreg.compile
from sockreg.errors import EXIT_CONFIG, EXIT_FAILURE, SockregError
from sockreg.registry import generations
from tests.kernel.host import Host

WEB = ("[web]", "Bind=tcp 192.0.2.1 80")
SHOP = ("[shop]", "Bind=tcp 192.0.2.2 80")


def rules(host: Host) -> list[str]:
    return [f"{rule['label']}: {rule['rule']}" for rule in host.json("rules")]


def test_the_directory_is_remembered(host: Host, tmp_path: Path) -> None:
    state = tmp_path / "state"
    host.conf(*WEB, name="web.conf")
    host.conf(*SHOP, name="shop.conf")
    host.ok("load", "--state", str(state))
    host.ok("bind", "web", "tcp", "192.0.2.1", "81")
    kept = (state / "rules").read_bytes()
    # A change that changes nothing does not write, and one that is undone is kept, too.
    written = (state / "rules").stat().st_ino
    host.ok("apply")
    assert (state / "rules").stat().st_ino == written
    host.ok("bind", "web", "tcp", "192.0.2.1", "82")
    host.ok("rollback")
    assert (state / "rules").read_bytes() == kept
    host.ok("unload")
    for name in ("web", "90-bind"):
        host.conf("nonsense", name=f"{name}.conf")
    told = host.ok("load", "--state", str(state))
    assert told.count("its rules stay in force as they were when it was last sound") == 2
    assert rules(host) == [
        "web: tcp 192.0.2.1 81",
        "shop: tcp 192.0.2.2 80",
        "web: tcp 192.0.2.1 80",
    ]
    assert host.json("status")["header"]["state"] == str(state)


def test_without_a_directory_nothing_is_kept(host: Host) -> None:
    """Only the network namespace of systemd has one without being told."""
    host.load(*WEB)
    assert host.json("status")["header"]["state"] is None
    host.ok("unload")
    host.conf("nonsense")
    assert "none of its rules is in force" in host.ok("load")
    assert rules(host) == []


def test_what_was_in_force_and_then_what_is_small_comes_first_into_a_table(
    host: Host, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    state = ["--state", str(tmp_path / "state")]
    host.conf(*WEB, name="web.conf")
    host.ok("load", *state)
    host.ok("unload")
    host.conf("[big]", *(f"Bind=tcp 10.0.{i}.{i} {i}" for i in range(1, 200)), name="a.conf")
    host.conf(*SHOP, name="shop.conf")
    host.conf(*WEB, *(f"Bind=tcp 10.1.{i}.{i} {i}" for i in range(1, 200)), name="web.conf")
    monkeypatch.setattr(sockreg.compile, "TABLE_MAX", 2048)
    told = host.ok("load", *state)
    assert f"{host.root}/etc/sockreg/a.conf is wrong, and none of its rules is in force" in told
    assert f"{host.root}/etc/sockreg/web.conf is wrong, and its rules stay in force" in told
    assert "its rules do not fit in: the rule set is too big" in told
    assert rules(host) == ["shop: tcp 192.0.2.2 80", "web: tcp 192.0.2.1 80"]
    with host.serve("web", "127.0.0.1", 8080), host.serve("shop", "127.0.0.1", 8081):
        assert host.ask("192.0.2.1", 80) == "web"
        assert host.ask("192.0.2.2", 80) == "shop"
    # Later, a command is refused for what does not fit, and nothing is lost.
    host.conf("[big]", *(f"Bind=tcp 10.0.{i}.{i} {i}" for i in range(1, 99)), name="b.conf")
    assert "too big" in host.fails(EXIT_CONFIG, "apply")
    assert len(rules(host)) == 2


def test_a_rule_that_keeps_ssh_open_goes_together_with_what_takes_it(
    host: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The part with the rule is too big, and the other one is not."""
    host.namespace.add_address("198.51.100.1/24")
    many = (f"Bind=tcp 10.0.{i}.{i} {i}" for i in range(1, 200))
    host.conf("[big]", "Pass=tcp 198.51.100.1 22", *many, name="big.conf")
    host.conf("[web]", "Bind=tcp 198.51.100.0/24 *", name="web.conf")
    host.conf(*SHOP, name="shop.conf")
    monkeypatch.setattr(sockreg.compile, "TABLE_MAX", 2048)
    with host.namespace.serve("ssh", "0.0.0.0", 22):
        told = host.ok("load")
        assert host.ask("198.51.100.1", 22) == "ssh"
        assert "takes 198.51.100.1:22, which ssh listens on" in told
        assert rules(host) == ["shop: tcp 192.0.2.2 80"]


def test_a_configuration_of_ssh_that_hides_is_told(host: Host) -> None:
    units = host.root / "etc/systemd/system"
    wants = units / "multi-user.target.wants"
    wants.mkdir(parents=True)
    (units / "sshd.service").write_text("[Service]\nExecStart=/usr/sbin/sshd -D -f /etc/gone\n")
    (wants / "sshd.service").symlink_to("/etc/systemd/system/sshd.service")
    host.conf(*WEB)
    told = host.ok("load")
    assert "/etc/gone: No such file or directory: rules may take the port of sshd.service" in told


def test_a_kernel_that_refuses_everything_is_no_matter_of_rules(
    host: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise SockregError("the kernel refuses")

    host.conf(*WEB)
    monkeypatch.setattr(generations, "build", refuse)
    assert host.fails(EXIT_FAILURE, "load").startswith("sockreg: the kernel refuses")
    assert not list(host.home.iterdir())
