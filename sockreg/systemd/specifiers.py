"""The specifiers of systemd.unit(5) that only depend on a unit's name."""

from __future__ import annotations

import re

_SPECIFIER = re.compile(r"%(.?)")
_ESCAPED = re.compile(rb"\\x([0-9a-fA-F]{2})")


def expand_specifiers(text: str, unit: str) -> str:
    """Replace %n %N %p %P %i %I %j %J and %% in a setting of ``unit``.

    Raises ValueError for any other specifier, because its value in systemd is not known here.
    """
    if "%" not in text:
        return text
    stem, _, _ = unit.rpartition(".")
    prefix, _, instance = stem.partition("@")
    last_part = prefix.rpartition("-")[2]
    values = {
        "%": "%",
        "n": unit,
        "N": stem,
        "p": prefix,
        "P": _unescape(prefix),
        "i": instance,
        "I": _unescape(instance),
        "j": last_part,
        "J": _unescape(last_part),
    }

    def value(match: re.Match[str]) -> str:
        try:
            return values[match[1]]
        except KeyError:
            allowed = " ".join(f"%{letter}" for letter in "iIjJnNpP%")
            raise ValueError(
                f"specifier {match[0]} is not allowed here; only {allowed} are"
            ) from None

    return _SPECIFIER.sub(value, text)


def _unescape(name: str) -> str:
    """What systemd-escape(1) --unescape prints."""
    path = name.replace("-", "/").encode(errors="surrogateescape")
    return _ESCAPED.sub(lambda match: bytes.fromhex(match[1].decode()), path).decode(
        errors="surrogateescape"
    )
