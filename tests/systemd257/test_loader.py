"""The tests of tests/systemd/test_loader.py with sockets that register themselves."""

from __future__ import annotations

import pytest

from tests.systemd.test_loader import (
    served,
    test_a_loader_that_cannot_start_again_goes_on_and_can_be_stopped,
    test_a_restart_that_fails_loses_nobody,
    test_a_restart_that_is_killed_loses_nobody,
    test_a_stop_puts_all_out_of_force_and_a_start_brings_all_back,
    test_restarts_under_load_refuse_nobody,
    test_unload_by_hand_forgets_all_and_units_come_back,
    test_what_changes_while_the_loader_is_stopped_is_there_at_its_start,
)

__all__ = [
    "served",
    "test_a_loader_that_cannot_start_again_goes_on_and_can_be_stopped",
    "test_a_restart_that_fails_loses_nobody",
    "test_a_restart_that_is_killed_loses_nobody",
    "test_a_stop_puts_all_out_of_force_and_a_start_brings_all_back",
    "test_restarts_under_load_refuse_nobody",
    "test_unload_by_hand_forgets_all_and_units_come_back",
    "test_what_changes_while_the_loader_is_stopped_is_there_at_its_start",
]


@pytest.fixture
def mode() -> str:
    return "exec"
