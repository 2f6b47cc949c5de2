"""Put the generation before back in force."""

from sockreg.commands.apply import Change, writing
from sockreg.commands.context import Context
from sockreg.errors import EXIT_NOT_LOADED, SockregError
from sockreg.registry import generations, record


def rollback(context: Context) -> Change:
    """Swap back to the generation that the one in force replaced.

    Files stay as they are: the next apply puts them in force again. SockregError
    (EXIT_NOT_LOADED) if there is no generation before.
    """
    with writing(context) as writer:
        current = generations.in_force(writer.registry)
        before = _before(writer.registry, current)
        if current is None or before is None:
            raise SockregError(
                "there is no generation before the one in force",
                "'sockreg apply' puts the configured rules in force",
                EXIT_NOT_LOADED,
            )
        context.step("comparing with the rules in force")
        old = record.decode(generations.read_rules(current))
        new = record.decode(generations.read_rules(before))
        added, removed = record.difference(old, new)
        context.step(f"swapping generation {before.number} in")
        generations.swap(writer.registry, current, before)
        return Change(
            before.number,
            True,
            generations.read_header(before).count,
            added=record.unpack(new, added),
            removed=record.unpack(old, removed),
        )


def _before(registry: str, current: generations.Generation | None) -> generations.Generation | None:
    if current is None:
        return None
    number = generations.read_header(current).previous
    for generation in generations.generations(registry):
        if generation.number == number:
            return generation
    return None
