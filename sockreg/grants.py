"""``Register=`` lines: who may register sockets under a label by the receiver. Pure.

    Register=user:alice
    Register=group:www-data 4
    Register=unit:web@.service

The number is how many members the label may have for this to be allowed, by default one; a member
is all sockets of one unit. A user or a group is a name or a number. A template stands for its
instances.

On the receiver's start-up path.
"""

from sockreg.terms import is_unit_name

KEY = "Register"
KINDS = ("user", "group", "unit")
MEMBERS = 1  # without a number
MEMBERS_MAX = 256  # of a pool
_NAME_MAX = 255  # characters


class Grant:
    """``kind`` is one of KINDS; ``members`` is how many members the label may have."""

    def __init__(self, kind: str, name: str, members: int) -> None:
        self.kind = kind
        self.name = name
        self.members = members

    def __repr__(self) -> str:
        return f"{self.kind}:{self.name} {self.members}"


def parse(text: str) -> Grant:
    """The grant that the value of a line is. Raises ValueError with a sentence."""
    who, *rest = text.split()
    kind, colon, name = who.partition(":")
    if not colon or kind not in KINDS:
        raise ValueError(f"{who} is neither user:NAME, group:NAME nor unit:NAME")
    if not name or len(name) > _NAME_MAX or not name.isprintable():
        raise ValueError(f"{who} has no valid name")
    if kind == "unit" and not _is_unit(name):
        raise ValueError(
            f"{name} is not the name of a unit that has processes, such as web.service, "
            "web@.service or web.scope"
        )
    if len(rest) > 1:
        raise ValueError(f"{' '.join(rest[1:])}: one number of members is expected, and no more")
    return Grant(kind, name, _members(rest[0]) if rest else MEMBERS)


def _is_unit(name: str) -> bool:
    return name.endswith((".service", ".scope")) and is_unit_name(name.replace("@.", "@x.", 1))


def _members(text: str) -> int:
    number = int(text) if text.isascii() and text.isdecimal() and len(text) < 10 else 0
    if not 1 <= number <= MEMBERS_MAX:
        raise ValueError(f"{text!r} is not a number of members from 1 to {MEMBERS_MAX}")
    return number


def is_of(unit: str, name: str) -> bool:
    """Whether a unit is the one that a grant names, or an instance of its template."""
    stem, at, ending = name.partition("@.")
    if not at:
        return unit == name
    return unit.startswith(f"{stem}@") and unit.endswith(f".{ending}") and unit != name
