"""Modules of the standard library that take long to import, and that few commands use.

What a command imports is most of what a look costs. ``inspect``, for example, is imported by
``dataclasses`` and takes longer than that, but classes with a docstring do not use it.
"""

import importlib
import sys
from types import ModuleType


class _Later(ModuleType):
    """Stands for a module until something in it is used.

    importlib.util.LazyLoader would load the module as soon as another one imports it (Python 3.11).
    """

    def __getattr__(self, name: str) -> object:
        if sys.modules.get(self.__name__) is self:
            del sys.modules[self.__name__]
        return getattr(importlib.import_module(self.__name__), name)


def load_when_used(name: str) -> None:
    """Have a module loaded at the first use of what is in it, also by other modules."""
    sys.modules.setdefault(name, _Later(name))
