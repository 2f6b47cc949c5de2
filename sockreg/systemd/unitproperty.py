"""What systemd says of a unit (systemctl(1), "show"), for messages about failures."""

_PATIENCE = 5.0  # seconds


def unit_property(unit: str, name: str) -> str:
    """A property such as ``SystemCallFilter``. Empty if systemd does not answer."""
    import subprocess  # only after a refusal

    command = ["systemctl", "show", "--value", "-p", name, "--", unit]
    try:
        done = subprocess.run(
            command,
            capture_output=True,
            encoding="utf-8",
            errors="surrogateescape",
            check=False,
            timeout=_PATIENCE,
        )
    except (OSError, subprocess.TimeoutExpired):
        return ""  # no systemd, or it is busy: the message will say less
    return done.stdout.strip()


def template_of(unit: str) -> str:
    """``sockreg@.service`` for ``sockreg@a.service``: drop-ins of it are those of all instances."""
    prefix, at, rest = unit.partition("@")
    return f"{prefix}@.{rest.rpartition('.')[2]}" if at else unit
