"""Parts of the configuration that are wrong, as text and as JSON."""

from sockreg.model import LeftOut

_LINES = 20  # of the problems of a part, before the rest is summarized


def lines(left: LeftOut) -> list[str]:
    """What follows, and each problem in a line of its own."""
    problems = [f"  {place}: {text}" for place, text in left.problems[:_LINES]]
    if len(left.problems) > _LINES:
        problems.append(f"  and {len(left.problems) - _LINES} more")
    return [f"{left.sentence}:", *problems]


def body(left: LeftOut) -> dict[str, object]:
    """A part as described in docs/json.md."""
    return {
        "part": left.part,
        "problems": [{"place": place, "text": text} for place, text in left.problems],
        "earlier_rules": left.earlier,
    }
