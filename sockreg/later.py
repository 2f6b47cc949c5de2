"""Modules that take long to import, that others import all the same, and that few commands use.

What a command imports is most of what a look costs. ``inspect``, for example, is imported by
``dataclasses`` and takes longer than that, but classes with a docstring do not use it.
"""

import importlib
import sys
from collections.abc import Sequence
from importlib.machinery import ModuleSpec
from types import ModuleType


class _Later(ModuleType):
    """Stands for a module until something in it is used.

    importlib.util.LazyLoader would load the module as soon as another one imports it (Python 3.11).
    """

    is_imported = False  # by then, the import has asked for what a module may have

    def __getattr__(self, name: str) -> object:
        if not self.is_imported:
            raise AttributeError(name)
        if sys.modules.get(self.__name__) is self:
            del sys.modules[self.__name__]
        return getattr(importlib.import_module(self.__name__), name)


def _annotations(of: object, **options: object) -> dict[str, object]:
    """inspect.get_annotations(), which before Python 3.14 needs nothing of inspect for a class.

    The dataclasses of Python 3.13 call it for each class.
    """
    if isinstance(of, type) and not options:
        return dict(of.__dict__.get("__annotations__", {}))  # noqa: RUF063
    if isinstance(module := sys.modules["inspect"], _Later):
        del sys.modules["inspect"]
        module = importlib.import_module("inspect")
    annotations: dict[str, object] = module.get_annotations(of, **options)
    return annotations


class _Finder:
    """Finds those modules once, so that the import also puts them in their package."""

    def __init__(self) -> None:
        self.names: set[str] = set()

    def find_spec(
        self, name: str, _path: Sequence[str] | None = None, _target: ModuleType | None = None, /
    ) -> ModuleSpec | None:
        if name not in self.names:
            return None
        self.names.remove(name)
        return ModuleSpec(name, self)  # type: ignore[arg-type]

    def create_module(self, spec: ModuleSpec) -> ModuleType:
        module = _Later(spec.name)
        if spec.name == "inspect" and sys.version_info < (3, 14):
            vars(module)["get_annotations"] = _annotations
        return module

    def exec_module(self, module: _Later) -> None:
        module.is_imported = True


_finder = _Finder()


def load_when_used(*names: str) -> None:
    """Have modules loaded at the first use of what is in them, also by other modules."""
    if _finder not in sys.meta_path:
        sys.meta_path.insert(0, _finder)
    _finder.names.update(name for name in names if name not in sys.modules)


def is_loaded(name: str) -> bool:
    """Whether a module has been loaded, and not only imported as one of load_when_used()."""
    return name in sys.modules and not isinstance(sys.modules[name], _Later)
