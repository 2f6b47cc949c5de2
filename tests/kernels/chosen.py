"""Which tests a kernel is to pass, and what older kernels do instead."""

from __future__ import annotations

from typing import NamedTuple

# What kernels change: whether they load what is compiled, what they hand to the program and
# whom they let do it, and what becomes of sockets. One test of tests/kernel for each, and not
# every parameter of it; the rest is ours, and the same on every kernel.
_TESTS = {
    "dataplane_loading": (
        "test_rules_load[nested v6]",
        "test_rules_load[many ports]",
        "test_rules_load[source]",
        "test_rules_load[interface]",
        "test_a_missing_capability_is_named[+perfmon]",
        "test_a_change_takes_the_same_capabilities",
        "test_nobody_can_change_a_table",
    ),
    "dataplane_oracle": (
        "test_no_rules_pass_everything",
        "test_random_rule_sets_and_changes[plain]",
        "test_random_rule_sets_and_changes[conditional]",
        "test_counters_count_lookups_and_misses",
    ),
    "dataplane_conditions": ("test_interface_and_source_decide",),
    "loading": (
        "test_a_registry_that_lost_its_link_makes_way_for_another",
        "test_pins_are_for_the_owner_and_the_group",
        "test_without_privileges",
    ),
    "steering": (
        "test_a_prefix_leads_to_its_label",
        "test_dual_stack_serves_both_families_and_v6only_one",
        "test_an_empty_slot_refuses_at_once_and_counts_a_miss",
        "test_missing_pass_falls_through_to_the_ordinary_listener",
        "test_reject_refuses_whoever_listens_and_is_counted",
        "test_rules_by_client_network",
        "test_reuseport_group_shares_the_connections_of_a_rule",
        "test_a_socket_that_does_not_fit_refuses_and_is_counted_apart",
    ),
    "others": (
        "test_who_wins[selects-before-tcp]",
        "test_who_wins[selects-clears-before-udp]",
        "test_who_wins[replaces-after-tcp]",
        "test_programs_on_both_sides[0]",
    ),
    "interfaces": ("test_a_rule_holds_for_its_interface_alone",),
    "registration": (
        "test_what_cannot_be_registered_is_refused_with_a_sentence[mptcp]",
        "test_what_cannot_be_registered_is_refused_with_a_sentence[unbound udp]",
        "test_what_cannot_be_registered_is_refused_with_a_sentence[connected udp]",
        "test_a_socket_of_another_network_namespace_is_refused",
        "test_a_socket_closed_by_its_owner_leaves_its_slot",
        "test_options_and_flags_stay_as_they_are",
    ),
    "rollback": ("test_connections_land_where_they_did",),
    "flows": (
        "test_a_flow_stays_when_the_pool_changes",
        "test_flows_that_find_no_room_go_by_their_hash",
    ),
    "groups": (
        "test_the_first_of_a_group_closes[6-127.0.0.1-192.0.2.7]",
        "test_a_group_keeps_its_share_of_a_pool[17]",
        "test_a_socket_without_its_group[6-127.0.0.1-192.0.2.7]",
        "test_a_socket_without_its_group[17-::1-2001:db8::7]",
    ),
    "pools": (
        "test_flows_are_shared_by_weight",
        "test_a_member_whose_socket_is_gone_is_skipped_at_once",
        "test_connections_made_with_syn_cookies_are_shared_too",
        "test_a_reuseport_group_is_one_member",
    ),
    "sockops": (
        "test_a_listener_is_registered_when_it_listens",
        "test_an_ipv6_only_listener_serves_ipv6_alone",
        "test_mptcp_listeners_are_not_steered_to",
        "test_unloading_it_keeps_the_sockets",
        "test_it_loads_with_three_capabilities",
    ),
    "trace": ("test_a_sample", "test_a_tracer_that_is_killed"),
    "take": (
        "test_by_pid",
        "test_by_cookie[sk:{:x}]",
        "test_as_the_user_of_the_server_without_any_privilege",
    ),
    "udp": (
        "test_the_example_answers_clients_that_connect[any IPv4]",
        "test_the_example_answers_clients_that_connect[any IPv6]",
        "test_a_connected_socket_keeps_its_packets_whatever_the_rules_say",
    ),
    "limits": (
        "test_a_listener_that_was_shut_down_keeps_its_slot",
        "test_a_live_connection_makes_a_later_bind_fail_unless_both_reuse_the_address",
        "test_a_udp_rule_takes_the_answers_to_unconnected_clients",
    ),
}


class Difference(NamedTuple):
    """Kernels ``before`` a release do not run these tests, and pass a module here instead.

    A name without ``::`` stands for all tests of its module.
    """

    before: tuple[int, int]
    without: tuple[str, ...]
    instead: str


_WITH_INTERFACES = (5, 17)

_DIFFERENCES = (
    Difference((6, 5), ("sockops",), "test_before_6_5.py"),
    Difference(
        (6, 0), ("limits::test_a_listener_that_was_shut_down_keeps_its_slot",), "test_before_6_0.py"
    ),
    Difference(
        (5, 19),
        ("take::test_as_the_user_of_the_server_without_any_privilege",),
        "test_before_5_19.py",
    ),
    Difference(
        _WITH_INTERFACES,
        (
            "interfaces",
            "dataplane_conditions",
            "dataplane_loading::test_rules_load[interface]",
            "dataplane_oracle::test_random_rule_sets_and_changes[conditional]",
        ),
        "test_before_5_17.py",
    ),
    Difference(
        (5, 14),
        (
            "registration::test_a_socket_of_another_network_namespace_is_refused",
            # Debian's had no MPTCP then.
            "registration::test_what_cannot_be_registered_is_refused_with_a_sentence[mptcp]",
        ),
        "test_before_5_14.py",
    ),
    Difference((5, 11), (), "test_before_5_11.py"),
)


def arguments(release: tuple[int, int], *, has_vrf: bool) -> list[str]:
    """The tests for a kernel of this release, as arguments of pytest."""
    older = [difference for difference in _DIFFERENCES if release < difference.before]
    without = {name for difference in older for name in difference.without}
    return [
        *(
            f"tests/kernel/test_{module}.py::{test}"
            for module, tests in _TESTS.items()
            for test in tests
            if not {module, f"{module}::{test}"} & without
        ),
        *(f"tests/kernels/{difference.instead}" for difference in older),
        *(["tests/kernels/test_members.py"] if release >= _WITH_INTERFACES else []),
        *(["tests/kernels/test_vrf.py"] if release >= _WITH_INTERFACES and has_vrf else []),
    ]
