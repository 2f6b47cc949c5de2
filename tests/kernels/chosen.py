"""Which tests a kernel is to pass, and what older kernels do instead."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

# Modules of tests/kernel that show where connections and datagrams land, from loading to
# unloading. The others look at what does not depend on the kernel, or load the machine.
_MODULES = (
    "dataplane_loading", "interfaces", "limits", "pools", "registration",
    "rollback", "sockops", "steering", "take", "udp",
)  # fmt: skip

# What takes minutes where every instruction is emulated, compiles, or runs nginx.
_LEFT_OUT = (
    "test_pools.py::test_a_death_while_a_pool_grows",
    "test_pools.py::test_a_death_while_a_pool_shrinks",
    "test_pools.py::test_no_more_members_than_there_is_room_for",
    "test_pools.py::test_nobody_is_refused_while_a_pool_grows_and_shrinks",
    "test_pools.py::test_readers_see_the_pool_before_a_change_or_after_it",
    "test_pools.py::test_the_same_unit_replaces_its_own_member_in_one_step",
    "test_rollback.py::test_after_an_apply_was_killed",
    "test_rollback.py::test_nobody_is_refused_meanwhile",
    "test_take.py::test_a_real_server_that_knows_nothing_of_it",
    "test_steering.py::test_any_port_opens_every_port_of_one_address",
)


class Difference(NamedTuple):
    """Kernels ``before`` a release fail these tests of tests/kernel, and pass a module here."""

    before: tuple[int, int]
    fails: tuple[str, ...]
    instead: str


_DIFFERENCES = (
    Difference((6, 5), ("test_sockops.py",), "test_before_6_5.py"),
    Difference(
        (6, 0),
        (
            "test_dataplane_loading.py::test_rules_load[200,000]",
            "test_limits.py::test_a_listener_that_was_shut_down_keeps_its_slot",
        ),
        "test_before_6_0.py",
    ),
    Difference(
        (5, 19),
        ("test_take.py::test_as_the_user_of_the_server_without_any_privilege",),
        "test_before_5_19.py",
    ),
    Difference((5, 17), ("test_interfaces.py",), "test_before_5_17.py"),
    Difference(
        (5, 14),
        (
            "test_registration.py::test_a_socket_of_another_network_namespace_is_refused",
            # Debian's had no MPTCP then.
            "test_registration.py::test_what_cannot_be_registered_is_refused_with_a_sentence[mptcp]",
        ),
        "test_before_5_14.py",
    ),
    Difference((5, 11), (), "test_before_5_11.py"),
)


def arguments(release: tuple[int, int]) -> list[str]:
    """The arguments of pytest for a kernel of this release."""
    modules = [f"tests/kernel/test_{name}.py" for name in _MODULES]
    left_out = list(_LEFT_OUT)
    for difference in _DIFFERENCES:
        if release < difference.before:
            modules.append(f"tests/kernels/{difference.instead}")
            left_out += difference.fails
    # Of a module that is left out as a whole, nothing is looked at.
    modules = [name for name in modules if Path(name).name not in left_out]
    return [*modules, *(f"--deselect=tests/kernel/{name}" for name in left_out)]
