"""sockreg: the socket registry for systemd hosts.

    import sockreg

    with sockreg.open_registry() as registry:
        print(registry.status().destinations)

``__all__`` is the public interface; docs/api.md explains it. All other names are internal and may
change. This module is on the companion's start-up path: it imports nothing until a name is used
(PEP 562).
"""

__version__ = "0.1.0"

TYPE_CHECKING = False
if TYPE_CHECKING:
    from sockreg.api import Registry as Registry
    from sockreg.api import open_registry as open_registry
    from sockreg.check.finding import Finding as Finding
    from sockreg.check.finding import Severity as Severity
    from sockreg.commands.change import Change as Change
    from sockreg.commands.load import Loaded as Loaded
    from sockreg.errors import AccessError as AccessError
    from sockreg.errors import BusyError as BusyError
    from sockreg.errors import ConfigError as ConfigError
    from sockreg.errors import NotLoadedError as NotLoadedError
    from sockreg.errors import RefusedError as RefusedError
    from sockreg.errors import SockregError as SockregError
    from sockreg.errors import UsageError as UsageError
    from sockreg.model import Action as Action
    from sockreg.model import Binding as Binding
    from sockreg.rules.syntax import format_rule as format_rule
    from sockreg.views.explain import Explanation as Explanation
    from sockreg.views.explain import Outcome as Outcome
    from sockreg.views.inspect import Details as Details
    from sockreg.views.listeners import Listeners as Listeners
    from sockreg.views.status import Status as Status

_HOMES = {
    "AccessError": "errors",
    "Action": "model",
    "Binding": "model",
    "BusyError": "errors",
    "Change": "commands.change",
    "ConfigError": "errors",
    "Details": "views.inspect",
    "Explanation": "views.explain",
    "Finding": "check.finding",
    "Listeners": "views.listeners",
    "Loaded": "commands.load",
    "NotLoadedError": "errors",
    "Outcome": "views.explain",
    "RefusedError": "errors",
    "Registry": "api",
    "Severity": "check.finding",
    "SockregError": "errors",
    "Status": "views.status",
    "UsageError": "errors",
    "format_rule": "rules.syntax",
    "open_registry": "api",
}
__all__ = ["__version__", *_HOMES]  # noqa: PLE0604


def __getattr__(name: str) -> object:
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(f"{__name__}.{home}"), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *_HOMES})
