"""The tests of tests/systemd/test_independence.py with sockets that register themselves."""

from __future__ import annotations

import pytest

from tests.systemd.test_independence import (
    box,
    test_a_stopped_loader_is_started_by_nothing_else,
    test_changing_targets_leaves_the_loader_alone,
    test_no_verb_on_one_service_changes_another,
    test_stopped_sockets_stay_closed_if_the_registry_is_made_again,
    test_what_starts_all_sockets_starts_no_masked_one,
)

__all__ = [
    "box",
    "test_a_stopped_loader_is_started_by_nothing_else",
    "test_changing_targets_leaves_the_loader_alone",
    "test_no_verb_on_one_service_changes_another",
    "test_stopped_sockets_stay_closed_if_the_registry_is_made_again",
    "test_what_starts_all_sockets_starts_no_masked_one",
]


@pytest.fixture
def mode() -> str:
    return "exec"
