"""The same boxes as in tests/systemd."""

from tests.systemd.conftest import installed as installed
