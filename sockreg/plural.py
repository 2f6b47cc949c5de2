"""Counts in sentences."""


def plural(count: int, noun: str, form: str = "") -> str:
    """``1 rule``, ``2 rules``; with ``,`` as the form of the number ``1,234 rules``."""
    return f"{count:{form}} {noun}" if count == 1 else f"{count:{form}} {noun}s"
