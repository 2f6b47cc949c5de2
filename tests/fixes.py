"""Which test does what a message says: every fix that sockreg prints, and its executor.

Fixes are found in the source: those of findings (``fix=``), and the commands in hints of errors.
What explain and listeners advise is of the same functions as the fixes of no-route, ahead-of-rules
and bound-socket; tests/kernel/test_arrival.py and test_ahead.py do both.
tests/pure/test_fixes.py holds that none is forgotten here.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

from tests.tree import ROOT

_COMMAND = re.compile(r"'(?:sockreg|systemctl|systemd-sysusers|ip|mount|mkdir|apt|pip|modprobe) ")


def findings() -> set[str]:
    """``kind: fix`` of all findings; what is not a text is its expression in the source."""
    return {
        f"{kind}: {text}"
        for path in sorted((ROOT / "sockreg/check").glob("*.py"))
        for call in _calls(path)
        if (fix := _argument(call, "fix")) is not None
        for kind in _texts(_argument(call, "check"))
        for text in _texts(fix)
        if kind != "udp-answer"  # a note: nothing is wrong
    }


def commands() -> set[str]:
    """``module: hint`` of all hints of errors that have a command between quotes."""
    return {
        f"{path.relative_to(ROOT / 'sockreg')}: {text}"
        for path in sorted((ROOT / "sockreg").rglob("*.py"))
        for call in _calls(path)
        if _name(call).endswith("Error") or _name(call) == "failure"
        for argument in (*call.args[1:], *(word.value for word in call.keywords))
        for text in _texts(argument)
        if _COMMAND.search(text)
    }


def _calls(path: Path) -> Iterator[ast.Call]:
    tree = ast.parse(path.read_text("utf-8"))
    return (node for node in ast.walk(tree) if isinstance(node, ast.Call))


def _name(call: ast.Call) -> str:
    return call.func.id if isinstance(call.func, ast.Name) else ""


def _argument(call: ast.Call, name: str) -> ast.expr | None:
    if _name(call) != "Finding":
        return None
    return next((word.value for word in call.keywords if word.arg == name), None)


def _texts(node: ast.expr | None) -> list[str]:
    """The texts that an expression may be; values in them are written as ``{}``."""
    if isinstance(node, ast.Constant):
        return [str(node.value)]
    if isinstance(node, ast.JoinedStr):
        return ["".join(_text(part) for part in node.values)]
    if isinstance(node, ast.IfExp):
        return [*_texts(node.body), *_texts(node.orelse)]
    if isinstance(node, ast.BinOp):
        return [a + b for a in _texts(node.left) for b in _texts(node.right)]
    return [] if node is None else [ast.unparse(node)]


def _text(part: ast.expr) -> str:
    return str(part.value) if isinstance(part, ast.Constant) else "{}"


_P = "tests/pure/test_"
_K, _S, _L = "tests/kernel/test_", "tests/systemd/test_", "tests/systemd/test_lacking.py::test_"
_H, _N = "tests/systemd/test_hints.py::test_", "tests/systemd257/test_"
_BROKEN = f"{_S}broken_host.py::test_every_fault_is_named_with_its_fix_and_goes_by_it"
_RECEIVE_TOO = f"{_S}fixes.py::test_units_that_receive_the_sockets_too"
_HALF = f"{_S}fixes.py::test_units_without_their_other_half"

# By what findings() and commands() return, as far as it tells them apart.
EXECUTORS = {
    "ahead-of-rules": f"{_K}ahead.py::test_what_surely_comes_before",
    "bound-socket: restart": f"{_K}arrival.py::test_a_socket_whose_interface_is_gone",
    "bound-socket: write dev {} in the rule, or remove BindToDevice=": (
        f"{_S}fixes.py::test_a_socket_that_is_bound_to_an_interface"
    ),
    "bound-socket: write dev {} in the rule, or let": (
        f"{_K}arrival.py::test_a_socket_that_is_bound_to_an_interface"
    ),
    "broadcast": f"{_K}arrival.py::test_a_broadcast_address_never_gets_to_a_rule",
    "client-ports": f"{_K}fixes.py::test_rules_that_take_the_answers_of_this_hosts_clients",
    "dead-server: 'systemctl status": f"{_S}fixes.py::test_a_server_that_failed",
    "dead-server: remove RemainAfterExit": _BROKEN,
    "dead-server: restart its server": f"{_K}fixes.py::test_a_server_that_accepts_no_more",
    "foreign-program": f"{_S}others.py::test_attached_again_sockreg_is_the_last",
    "full-queue: restart its server": (
        f"{_K}queues.py::test_a_member_that_hangs_is_drained_and_restarted"
    ),
    "full-queue: add members": f"{_K}queues.py::test_a_server_that_is_too_slow",
    "inactive-socket": _HALF,
    "unknown-holder": f"{_S}receive.py::test_check_says_which_grants_nobody_can_use",
    "no-receiver": f"{_S}receive.py::test_check_says_which_grants_nobody_can_use",
    "grant-without-rules": f"{_S}receive.py::test_check_says_which_grants_nobody_can_use",
    "inner-interface": f"{_K}interfaces.py::test_packets_arrive_from_the_bridge_not_from_its_port",
    "interfaces-not-followed": f"{_S}fixes.py::test_interfaces_that_are_not_followed",
    "later-binds": f"{_K}fixes.py::test_later_binds",
    "left-out": f"{_S}ssh.py::test_what_a_boot_left_out_is_corrected",
    "masked-loader": f"{_S}fixes.py::test_a_masked_loader",
    "memlock": "tests/kernels/test_before_5_11.py::test_the_limit_is_named",
    "mptcp: remove": f"{_S}fixes.py::test_mptcp_in_a_unit",
    "mptcp: set": f"{_K}fixes.py::test_a_server_with_mptcp",
    "never-wins": f"{_K}fixes.py::test_a_rule_that_never_wins",
    "no-bpf": f"{_L}a_filter_without_bpf_is_named_with_the_drop_in",
    "no-companion": _HALF,
    "no-interface": f"{_K}fixes.py::test_a_rule_for_an_interface_that_is_not_there",
    "no-requires": _HALF,
    "no-route": (
        f"{_K}arrival.py::test_what_check_says_brings_clients_here_and_loses_no_neighbour"
    ),
    "no-rules": f"{_K}fixes.py::test_no_rules",
    "no-server: create {}, or name": _HALF,
    "no-server: create {}, or set": (
        f"{_S}check.py::test_an_accepting_socket_without_a_template"
    ),
    "no-socket-unit: systemctl": _HALF,
    "no-socket: ": f"{_K}fixes.py::test_no_socket_for_a_label_with_a_typing_error",
    "no-socket-unit: sockreg": f"{_N}fixes.py::test_a_socket_unit_that_is_gone",
    "nonblocking: NonBlocking={} in [Service] of {}, as": (
        f"{_S}fixes.py::test_the_shipped_setting_of_a_companion"
    ),
    "nonblocking: NonBlocking={} in [Service] of {}, or": _BROKEN,
    "nonblocking: give that unit": _BROKEN,
    "not-applied": f"{_K}fixes.py::test_a_line_that_is_wrong",
    "not-listening": f"{_S}check.py::test_edited_listen_lines",
    "not-loaded": f"{_S}fixes.py::test_a_masked_loader",
    "not-registered": f"{_S}check.py::test_a_pool_of_instances_is_no_fault",
    "old-kernel": (
        "tests/kernels/test_before_5_17.py::test_what_check_says_of_such_a_rule_helps"
    ),
    "ordering-cycle": _RECEIVE_TOO,
    "other-network": f"{_S}docs.py::test_documents_hold",
    "partly-local": (
        f"{_K}arrival.py::test_what_check_says_brings_clients_here_and_loses_no_neighbour"
    ),
    "private-network": f"{_S}fixes.py::test_a_loader_in_another_network",
    "read-as": f"{_K}fixes.py::test_a_line_that_is_read_differently",
    "read-only-bpffs": f"{_S}fixes.py::test_a_loader_in_another_network",
    "readers-can-write": f"{_K}rights.py::test_what_lets_readers_write_is_found",
    "refused-listener: expect": (
        f"{_K}sockops.py::test_a_unit_that_listens_late_takes_nothing_from_the_first"
    ),
    "refused-listener: make": f"{_K}sockops.py::test_mptcp_listeners_are_not_steered_to",
    "remain-after-exit": (
        f"{_S}fixes.py::test_a_server_that_hangs_behind_a_unit_that_stays_active"
    ),
    "restart: ": _RECEIVE_TOO,
    "same-label": f"{_S}labels.py::test_a_label_of_its_own_is_all_it_takes",
    "sandbox": f"{_L}check_names_what_is_missing_and_its_drop_in_helps",
    "shadowed-listener": f"{_K}fixes.py::test_an_ordinary_listener_in_the_shadow",
    "ssh: ": f"{_K}fixes.py::test_a_rule_for_the_port_of_ssh_alone",
    "start-limit": _RECEIVE_TOO,
    "start-timeout": _RECEIVE_TOO,
    "starts-loader": f"{_S}fixes.py::test_a_unit_that_starts_the_loader",
    "stop-hook": f"{_N}fixes.py::test_a_command_at_the_stop_that_gets_the_sockets",
    "syntax: ": f"{_K}fixes.py::test_a_line_that_is_wrong",
    "tcp-client: run": f"{_K}visits.py::test_it_takes_root",
    "tcp-client: fix": (
        f"{_K}visits.py::test_what_a_packet_filter_does_is_seen_and_what_is_said_helps"
    ),
    "tie: ": f"{_K}fixes.py::test_a_tie",
    "udp-address": (
        f"{_K}probe.py::test_a_server_that_answers_from_the_address_that_was_asked"
    ),
    "udp-port: ": f"{_K}fixes.py::test_replies_from_another_port",
    "unfinished-enable": f"{_S}enable.py::test_a_death_is_healed",
    "unused-set": f"{_K}fixes.py::test_a_set_that_nothing_names",
    "unsteerable": f"{_S}fixes.py::test_sockets_of_a_wrong_kind",
    "which-listener": (
        f"{_K}several_listeners.py::test_what_remains_unclear_is_refused_and_told"
    ),
    "commands/enable_checks.py: 'systemctl unmask": (
        f"{_S}enable.py::test_a_masked_loader_is_said"
    ),
    "cli/main.py: 'sockreg help {}' explains": f"{_P}manners.py::test_help_and_version",
    "cli/main.py: 'sockreg help' lists": f"{_P}manners.py::test_help_and_version",
    "cli/verbs/bind.py: 'sockreg help {}' explains": f"{_P}manners.py::test_help_and_version",
    "cli/change.py: 'sockreg apply'": "tests/faults/test_faults.py::test_around_the_swap",
    "commands/enable.py: undo this first": f"{_N}fixes.py::test_the_other_mode",
    "commands/enable_checks.py: 'systemctl start sockreg@NAME.service'": (
        f"{_H}enable_where_nothing_can_be_written"
    ),
    "commands/enable_checks.py: 'systemctl start {}' registers it for so long": (
        f"{_H}enable_a_transient_socket"
    ),
    "commands/socket_units.py: 'systemctl unmask": f"{_H}enable_a_masked_socket",
    "commands/unfinished.py: remove the file": f"{_H}a_note_of_another_version",
    "config/bindfile.py: name fewer addresses or ports": (
        f"{_K}ending.py::test_a_rule_that_lasts_is_not_lost_to_one_that_ends"
    ),
    "companion/lifecycle.py: 'systemctl disable --now": (
        f"{_S}ssh.py::test_stopping_the_registration_of_ssh"
    ),
    "errors.py: install it": "tests/pure/test_fixes.py::test_packages_are_those_that_have_it",
    "kernel/libbpf.py: install one": (
        "tests/pure/test_fixes.py::test_packages_are_those_that_have_it"
    ),
    "systemd/libsystemd.py: install one": (
        "tests/pure/test_fixes.py::test_packages_are_those_that_have_it"
    ),
    "receive/protocol.py: start it": f"{_H}the_receiver_is_not_started",
    "registry/maps.py: if somebody": f"{_K}lost_pins.py::test_what_is_lost_is_named_and_comes_back",
    "registry/directory.py: 'rm": f"{_K}lost_pins.py::test_what_is_lost_is_named_and_comes_back",
    "registry/published.py: run 'sockreg apply'": (
        f"{_K}readers.py::test_a_death_at_any_point_of_an_apply_tells_readers_nothing_wrong"
    ),
    "registry/sockops.py: start it": f"{_H}sock_ops_is_not_loaded",
    "views/flows.py: set it in": f"{_K}flows.py::test_it_comes_and_goes_with_the_files",
    "systemd/systemctl.py: its state stays": f"{_H}systemd_does_not_say_why_it_stops",
    "commands/enable_checks.py: 'systemctl stop {}' first": (
        f"{_S}enable.py::test_a_running_server_without_its_socket"
    ),
    "commands/rollback.py: 'sockreg apply'": f"{_K}fixes.py::test_no_generation_to_go_back_to",
    "config/bindfile.py: leave out --runtime": (
        f"{_K}fixes.py::test_rules_that_last_and_rules_that_do_not"
    ),
    "commands/take_refusals.py: 'systemctl start {}' registers": (
        "tests/systemd257/test_check.py::test_taking_a_socket_that_systemd_has_open"
    ),
    "guards/root.py: ": f"{_K}root.py::test_what_the_hint_says_changes_the_root",
    "guards/ssh.py: ": f"{_K}fixes.py::test_a_rule_for_the_port_of_ssh_alone",
    "registry/creation.py: 'mkdir": f"{_L}a_read_only_bpffs",
    "registry/directory.py: start it: 'systemctl start sockreg.service'": (
        f"{_S}fixes.py::test_a_masked_loader"
    ),
}  # fmt: skip

# No test does these yet. A new fix belongs above: this list may only get shorter.
NOT_YET: tuple[str, ...] = ()

# Nothing to be done: these say where to look.
ONLY_SHOWN = re.compile(
    r"explain --help|status --watch|sockreg (rules|status)' (shows|lists)|"
    r"'ip link' lists|ip netns list|"
    r"list-unit-files|systemctl (show|status)|status' lists"
)
