"""The rules in force, read from the kernel."""

from sockreg import garbage
from sockreg.context import Context
from sockreg.model import Binding
from sockreg.registry import generations, record


def read(context: Context) -> list[Binding]:
    """The bindings of the generation in force, in the order in which they were read."""
    content = generations.read_in_force(context.loaded_registry(), generations.read_rules)
    with garbage.paused():
        return [] if content is None else record.decode_bindings(content)
