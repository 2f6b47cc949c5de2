"""Put the generation before back in force."""

from sockreg.commands.apply import Change, difference, writing
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
        old = record.decode_bindings(generations.read_rules(current))
        new = record.decode_bindings(generations.read_rules(before))
        generations.swap(writer.registry, current, before)
        return difference(old, new, before.number, swapped=True)


def _before(registry: str, current: generations.Generation | None) -> generations.Generation | None:
    if current is None:
        return None
    number = generations.read_header(current).previous
    for generation in generations.generations(registry):
        if generation.number == number:
            return generation
    return None
