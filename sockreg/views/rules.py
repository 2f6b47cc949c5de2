"""The rules in force, read from the kernel."""

from sockreg.commands.context import Context
from sockreg.model import Binding
from sockreg.registry import generations, record


def read(context: Context) -> list[Binding]:
    """The bindings of the generation in force, in the order in which they were read."""
    current = generations.in_force(context.loaded_registry())
    return [] if current is None else record.decode_bindings(generations.read_rules(current))
