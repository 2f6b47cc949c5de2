"""The verbs of the command line. Verbs change something; nouns show something.

A module is imported when its verb is used: all of them take longer than most verbs need.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sockreg.cli.verb import Verb

# Where each verb is, in the order of the help, by group.
WHERE = {
    "apply": "apply.APPLY",
    "confirm": "apply.CONFIRM",
    "rollback": "rollback.VERB",
    "bind": "bind.BIND",
    "unbind": "bind.UNBIND",
    "import": "import_.VERB",
    "weight": "weight.WEIGHT",
    "drain": "weight.DRAIN",
    "status": "status.VERB",
    "rules": "rules.VERB",
    "explain": "explain.VERB",
    "inspect": "inspect.VERB",
    "listeners": "listeners.VERB",
    "flows": "flows.VERB",
    "trace": "trace.VERB",
    "top": "top.VERB",
    "graph": "graph.VERB",
    "report": "report.VERB",
    "metrics": "metrics.VERB",
    "check": "check.VERB",
    "demo": "demo.VERB",
    "enable": "enable.ENABLE",
    "disable": "enable.DISABLE",
    "register": "register.VERB",
    "send": "send.VERB",
    "expect": "expect.VERB",
    "unregister": "unregister.VERB",
    "load": "load.VERB",
    "unload": "unload.VERB",
    "upgrade": "upgrade.VERB",
    "install-units": "install_units.INSTALL",
    "uninstall-units": "install_units.UNINSTALL",
}


def verb_named(name: str) -> Verb:
    """The verb of this name, one of those in WHERE."""
    module, constant = WHERE[name].split(".")
    verb: Verb = getattr(import_module(f"{__name__}.{module}"), constant)
    return verb
