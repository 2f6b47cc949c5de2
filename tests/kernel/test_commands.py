"""What the commands do and say, and their exit statuses."""

from __future__ import annotations

import json
import subprocess

import pytest

from sockreg.errors import (
    EXIT_CONFIG,
    EXIT_NOT_LOADED,
    EXIT_OK,
    EXIT_USAGE,
)
from sockreg.systemd import journal
from tests.kernel.host import Host, bpftool
from tests.netns import UDP, Namespace
from tests.process import run
from tests.tree import ROOT

WEB = ["[web]", "Bind=tcp 192.0.2.0/24 80"]


# load, apply, upgrade, rollback, unload


def test_load_says_what_it_did_and_twice_is_fine(host: Host) -> None:
    said = host.load(*WEB)
    assert f"loaded: the registry is at {host.registry}" in said
    assert "+ bind web: tcp 192.0.2.0/24 80" in said
    assert "generation 1 in force: 1 rule (1 added, 0 removed)" in said
    assert [entry["MESSAGE_ID"] for entry in host.entries()] == [
        [journal.LOADED],
        [journal.APPLIED],
    ]
    before = bpftool("-f", "prog", "show", "pinned", str(host.registry / "generations/1/program"))
    assert host.ok("load") == "nothing to change: generation 1 has 1 rule\n"
    after = bpftool("-f", "prog", "show", "pinned", str(host.registry / "generations/1/program"))
    assert before["id"] == after["id"]
    host.conf(*WEB, "Bind=tcp 192.0.2.0/24 81")
    assert "generation 2 in force: 2 rules (1 added, 0 removed)" in host.ok("load")


def test_apply_says_what_changed(host: Host) -> None:
    host.load(*WEB)
    said = host.apply("[web]", "Bind=tcp 192.0.2.0/24 443", "Reject=udp ::/0 *")
    assert said.splitlines() == [
        "+ bind web: tcp 192.0.2.0/24 443",
        "+ reject web: udp ::/0 *",
        "- bind web: tcp 192.0.2.0/24 80",
        "generation 2 in force: 2 rules (2 added, 1 removed)",
    ]
    (entry,) = host.entries()
    assert entry["SOCKREG_GENERATION"] == ["2"]
    assert entry["SOCKREG_RULES"] == ["2"]


def test_every_problem_is_a_line_that_says_who_speaks(host: Host) -> None:
    host.load()
    path = host.conf("[web]", "Bind=tcp nonsense 80", "Binds=tcp ::/0 80")
    lines = host.fails(EXIT_CONFIG, "apply").splitlines()
    starts = [f"sockreg: {path}:2: ", f"sockreg: {path}:3: ", "sockreg: nothing was changed"]
    assert len(lines) == len(starts)
    assert all(line.startswith(start) for line, start in zip(lines, starts, strict=True))


def test_apply_sums_up_a_long_change(host: Host) -> None:
    host.load()
    said = host.apply("[web]", *(f"Bind=tcp 192.0.2.0/24 {port}" for port in range(1, 101)))
    assert len(said.splitlines()) == 22
    assert "+ and 80 more" in said
    assert "generation 2 in force: 100 rules (100 added, 0 removed)" in said


def test_apply_without_a_change_swaps_nothing(host: Host) -> None:
    host.load(*WEB)
    assert host.ok("apply") == "nothing to change: generation 1 has 1 rule\n"
    assert host.json("apply")["swapped"] is False


def test_a_rule_that_moves_to_another_file_is_no_change_of_meaning(host: Host) -> None:
    host.load(*WEB)
    host.conf()
    host.conf(*WEB, name="other.conf")
    assert "(0 added, 0 removed)" in host.ok("apply")
    assert host.json("rules")[0]["file"].endswith("/other.conf")


def test_check_changes_nothing(host: Host) -> None:
    host.load(*WEB)
    host.conf("[other]", "Bind=tcp 192.0.2.0/24 443")
    said = host.ok("apply", "--check")
    assert said.splitlines() == [
        "+ bind other: tcp 192.0.2.0/24 443",
        "- bind web: tcp 192.0.2.0/24 80",
        "the configured rules are sound: 1 rule; 1 added, 1 removed if applied",
    ]
    assert [rule["label"] for rule in host.json("rules")] == ["web"]
    assert host.json("apply", "--check")["swapped"] is False
    assert not host.entries()


def test_host_bits_are_cleared_with_a_notice(host: Host) -> None:
    said = host.load("[web]", "Bind=tcp 192.0.2.77/24 80")
    assert "rules.conf:2: 192.0.2.77/24 has host bits set and is read as 192.0.2.0/24" in said
    assert "+ bind web: tcp 192.0.2.0/24 80" in said


def test_a_tie_is_refused_naming_both_places(host: Host) -> None:
    host.load(*WEB)
    with host.serve("web", "127.0.0.1", 8080):
        host.conf(*WEB, "[other]", "Bind=tcp 192.0.2.0/24 80")
        for arguments in (["apply"], ["apply", "--check"], ["load"]):
            said = host.fails(EXIT_CONFIG, *arguments)
            assert "rules.conf:4: Bind=tcp 192.0.2.0/24 80 (other) ties with" in said
            assert "rules.conf:2" in said
        assert host.ask("192.0.2.7", 80) == "web"
        assert host.json("status")["generation"] == 1


def test_a_tie_of_the_same_meaning_is_none(host: Host) -> None:
    host.load(*WEB)
    host.conf(*WEB, name="again.conf")
    assert "0 added" in host.ok("apply")


def test_one_wrong_line_refuses_the_whole_set(host: Host) -> None:
    host.load(*WEB)
    host.conf("[web]", "Bind=tcp 192.0.2.0/24 443", "Bind=tcp 192.0.2.0/33 80", "Bnid=tcp ::/0 1")
    said = host.fails(EXIT_CONFIG, "apply")
    assert "rules.conf:3: Bind=tcp 192.0.2.0/33 80: prefix '192.0.2.0/33'" in said
    assert "rules.conf:4: unknown key 'Bnid'" in said
    entries = host.entries()
    assert [entry["MESSAGE_ID"] for entry in entries] == [[journal.APPLY_REFUSED]]
    assert "rules refused, the rules in force stay" in entries[0]["MESSAGE"][0]
    assert [rule["rule"] for rule in host.json("rules")] == ["tcp 192.0.2.0/24 80"]


def test_a_first_load_with_a_wrong_file_serves_the_others(host: Host) -> None:
    path = host.conf("[web]", "Bind=tcp 192.0.2.8 80", "Bind=tcp nowhere 80")
    host.conf("[shop]", "Bind=tcp 192.0.2.9 80", name="shop.conf")
    assert f"{path}:3: Bind=tcp nowhere 80: " in host.ok("load")
    with host.namespace.serve("ordinary", "0.0.0.0", 80), host.serve("shop", "127.0.0.1", 8080):
        assert host.ask("192.0.2.8", 80) == "ordinary"
        assert host.ask("192.0.2.9", 80) == "shop"


def test_upgrade_makes_a_new_generation_and_keeps_sockets_and_counters(host: Host) -> None:
    host.load(*WEB)
    with host.serve("web", "127.0.0.1", 8080):
        assert host.ask("192.0.2.7", 80) == "web"
        assert "generation 2 in force: 1 rule (0 added, 0 removed)" in host.ok("upgrade")
        assert host.ask("192.0.2.7", 80) == "web"
        assert host.counters("web") == (2, 0, 0)


def test_sockets_and_counters_survive_a_change_of_rules(host: Host) -> None:
    host.load(*WEB)
    with host.serve("web", "127.0.0.1", 8080):
        assert host.ask("192.0.2.7", 80) == "web"
        host.apply(*WEB, "Bind=tcp 192.0.2.0/24 81")
        assert host.ask("192.0.2.7", 81) == "web"
        assert host.counters("web") == (2, 0, 0)


def test_unload_twice_and_commands_without_a_registry(host: Host) -> None:
    host.load(*WEB)
    host.ok("unload")
    for arguments in (["unload"], ["apply"], ["apply", "--check"], ["upgrade"], ["status"],
                      ["rules"], ["unregister", "web"]):  # fmt: skip
        said = host.fails(EXIT_NOT_LOADED, *arguments)
        assert "nothing is loaded in this network namespace" in said
        assert "'sockreg load'" in said


def test_load_after_unload_starts_anew(host: Host) -> None:
    host.load(*WEB)
    assert host.ask("192.0.2.7", 80) == "refused"
    host.ok("unload")
    host.ok("load")
    assert host.counters("web") == (0, 0, 0)
    assert host.json("status")["generation"] == 1


# bind, unbind


def test_bind_writes_a_file_and_is_in_force_at_once(host: Host) -> None:
    host.load()
    with host.serve("web", "127.0.0.1", 8080), host.serve("web", "127.0.0.1", 8080, UDP):
        assert "+ bind web: tcp 192.0.2.7 80" in host.ok("bind", "web", "tcp", "192.0.2.7", "80")
        host.ok("bind", "web", "udp", "192.0.2.0/24", "8000-8999")
        assert host.both("192.0.2.7", 80) == ("web", "refused")
        assert host.both("192.0.2.9", 8500) == ("refused", "web")
        assert "Bind=tcp 192.0.2.7 80" in (host.root / "etc/sockreg/90-bind.conf").read_text()
        host.ok("unload")
        host.ok("load")
        assert len(host.json("rules")) == 2
        said = host.ok("unbind", "web", "udp", "192.0.2.0/24", "8000-8999")
        assert "- bind web: udp 192.0.2.0/24 8000-8999" in said
        assert len(host.json("rules")) == 1


def test_bind_until_the_next_boot(host: Host) -> None:
    host.load()
    host.ok("bind", "web", "tcp", "2001:db8::1", "*", "--runtime")
    assert list(host.root.glob("run/sockreg/*.conf"))
    assert not (host.root / "etc/sockreg/90-bind.conf").exists()
    host.ok("unbind", "web", "tcp", "2001:db8::1", "*")
    assert host.json("rules") == []


def test_a_bind_that_is_refused_writes_nothing(host: Host) -> None:
    host.load(*WEB)
    assert "ties with" in host.fails(EXIT_CONFIG, "bind", "other", "tcp", "192.0.2.0/24", "80")
    assert "protocol 'sctp'" in host.fails(EXIT_USAGE, "bind", "web", "sctp", "192.0.2.1", "80")
    said = host.fails(EXIT_CONFIG, "unbind", "web", "tcp", "192.0.2.0/24", "80")
    assert "(web) is in" in said
    assert "rules.conf:2" in said
    assert not (host.root / "etc/sockreg/90-bind.conf").exists()
    assert len(host.json("rules")) == 1


# The command line


@pytest.mark.parametrize(
    "arguments",
    [[], ["lod"], ["load", "x"], ["bind", "web"], ["status", "--lines", "many"], ["--netns"]],
)
def test_a_wrong_command_line_is_2(host: Host, arguments: list[str]) -> None:
    assert host.run(*arguments).status == EXIT_USAGE


def test_help_fits_a_screen_and_every_verb_has_its_own(host: Host) -> None:
    help_text = host.run("--help").out
    verbs = host.run("--help").out.split("VERB\n")[-1]
    assert len(help_text.splitlines()) <= 60
    for verb in ("load", "unload", "upgrade", "apply", "bind", "unbind", "register", "unregister",
                 "rules", "status"):  # fmt: skip
        assert f"    {verb} " in verbs
        outcome = host.run(verb, "--help")
        assert outcome.status == EXIT_OK
        assert f"sockreg {verb}" in outcome.out


def test_json_has_schema_and_version(host: Host) -> None:
    host.conf(*WEB)
    for arguments, schema in (
        (["load"], "change"), (["apply"], "change"), (["apply", "--check"], "change"),
        (["upgrade"], "change"), (["rules"], "rules"), (["status"], "status"),
        (["bind", "web", "tcp", "::1", "80"], "change"),
        (["unbind", "web", "tcp", "::1", "80"], "change"), (["unload"], "unloaded"),
    ):  # fmt: skip
        content = json.loads(host.run("--json", *arguments).out)
        assert content["schema"] == f"sockreg.{schema}"
        assert content["version"] == 1
        assert schema in content
    assert json.loads(host.run("load", "--json").out)["change"]["count"] == 1


def test_json_of_rules_and_status(host: Host) -> None:
    path = host.conf("[web]", "Bind=tcp 192.0.2.0/24 8000-8999", "Reject=udp 2001:db8::/64 *")
    host.ok("load")
    bind, reject = host.json("rules")
    assert bind == {
        "label": "web", "action": "bind", "rule": "tcp 192.0.2.0/24 8000-8999", "protocol": "tcp",
        "prefix": "192.0.2.0/24", "first_port": 8000, "last_port": 8999, "from": None,
        "interface": None, "listener": None, "missing_pass": False, "pending": False,
        "file": str(path), "line": 2, "decisions": None, "seconds_left": None, "until": None,
    }  # fmt: skip
    assert reject["action"] == "reject"
    assert (reject["first_port"], reject["last_port"]) == (0, 65535)
    with host.serve("web", "127.0.0.1", 8080, unit="web.socket"):
        status = host.json("status")
    assert status["program"]["name"] == "sockreg"
    assert status["registry"] == str(host.registry)
    (destination,) = status["destinations"]
    assert destination["label"] == "web"
    assert destination["rules"] == 1
    assert destination["members"][0]["address"] == "127.0.0.1:8080"
    assert destination["members"][0]["unit"] == "web.socket"


def test_status_and_rules_for_people(host: Host) -> None:
    path = host.conf(*WEB)
    host.ok("load")
    with host.serve("web", "127.0.0.1", 8080, unit="web.socket"):
        assert host.ask("192.0.2.7", 80) == "web"
        lines = host.ok("status", "--lines", "0").splitlines()
    assert lines[0].startswith(f"registry    {host.registry} (network namespace ")
    assert lines[1].startswith("in force    generation 1, 1 rule, ")
    assert lines[2].startswith("program     sockreg, id ")
    header, row = lines[-2].split(), lines[-1].split()
    shown = dict(zip(header, row, strict=True))
    assert shown["LABEL"] == "web"
    assert shown["ADDRESS"] == "127.0.0.1:8080"
    assert shown["UNIT"] == "web.socket"
    assert shown["SOCKET"].startswith("sk:")
    assert (shown["LOOKUPS"], shown["MISSES"], shown["ERRORS"]) == ("1", "0", "0")
    assert "SLOT" not in shown
    assert "SLOT" in host.ok("status", "--slots")
    assert host.ok("rules").splitlines()[1].split() == [
        "bind", "web", "tcp", "192.0.2.0/24", "80", f"{path}:2",
    ]  # fmt: skip


def test_output_into_a_closed_pipe_is_no_error(host: Host) -> None:
    host.load("[web]", *(f"Bind=tcp 192.0.2.0/24 {port}" for port in range(1, 3000)))
    with subprocess.Popen(
        host.command("rules"),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=ROOT,
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.close()
        assert process.stderr.read() == ""
    assert process.returncode == EXIT_OK


# Network namespaces


def test_namespaces_by_name_and_by_path_have_registries_of_their_own(host: Host) -> None:
    host.load(*WEB)
    with Namespace() as other:
        other.add_local("192.0.2.0/24")
        with other.named("blue"), other.serve("blue", "0.0.0.0", 80):
            by_name = ["--netns", "blue"]
            host.conf()
            host.ok(*by_name, "load")
            assert len(list(host.home.iterdir())) == 2
            assert host.json(*by_name, "rules") == []
            assert [rule["label"] for rule in host.json("rules")] == ["web"]
            assert host.json(*by_name, "status") == host.json("--netns", other.path, "status")
            assert other.ask("192.0.2.7", 80) == "blue"
            assert host.ask("192.0.2.7", 80) == "refused"
            host.ok("unload")
            host.ok(*by_name, "unload")
            assert not list(host.home.iterdir())


def test_a_namespace_that_is_not_there(host: Host) -> None:
    said = host.fails(EXIT_USAGE, "--netns", "nowhere", "load")
    assert "network namespace nowhere: /run/netns/nowhere: No such file or directory" in said
    assert "ip netns list" in said
    assert host.run("--netns", "/etc/passwd", "load").status not in (EXIT_OK, EXIT_USAGE)
    assert "cannot enter network namespace /etc/passwd" in host.run("--netns", "/etc/passwd",
                                                                    "load").err  # fmt: skip


def test_without_netns_it_is_our_own(host: Host) -> None:
    """As a process in the namespace, without --netns."""
    host.conf(*WEB)
    command = host.command("load")
    at = command.index("--netns")
    del command[at : at + 2]
    with host.namespace.entered():
        run(command)
    assert host.json("status")["generation"] == 1


# bpftool


def test_bpftool_shows_program_maps_and_link_by_name(host: Host) -> None:
    """T22."""
    host.process("load", check=True)
    registry = host.registry
    program = bpftool("-f", "prog", "show", "pinned", str(registry / "generations/1/program"))
    assert program["type"] == "sk_lookup"
    assert program["name"] == "sockreg"
    assert program["gpl_compatible"] is True
    link = bpftool("link", "show", "pinned", str(registry / "link"))
    assert link["type"] == "netns"
    assert link["attach_type"] == "sk_lookup"
    assert link["prog_id"] == program["id"]
    maps = {name: bpftool("map", "show", "pinned", str(registry / name))
            for name in ("sockets", "counters", "destinations", "members", "units")}  # fmt: skip
    for name, found in maps.items():
        assert found["name"] == name
        assert name in ("sockets",) or found["btf_id"] > 0
    assert maps["sockets"]["type"] == "sockmap"
    host.process("apply", check=True)
    host.conf("[web]", "Bind=tcp 192.0.2.0/24 80")
    host.process("apply", check=True)
    dump = run(["bpftool", "map", "dump", "pinned", str(registry / "destinations")]).stdout
    assert '"label": "web"' in dump
    assert '"protocol": 6' in dump
