"""sockreg: the socket registry for systemd hosts."""

__version__ = "0.1.0"
