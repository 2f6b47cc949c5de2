#!/usr/bin/python
# SPDX-License-Identifier: MIT
"""Units that sockreg registers."""

from __future__ import annotations

DOCUMENTATION = r"""
module: unit
short_description: Enable or disable .socket units with sockreg
description:
  - Enables all units or none. A unit whose rules are wrong, or whose label belongs to another one, is refused, and
    the host is as it was.
author:
  - sockreg maintainers (@sockreg)
options:
  name:
    description: The units, such as C(web.socket), or C(web) for short.
    type: list
    elements: str
    required: true
  state:
    description: Whether they are enabled with sockreg.
    type: str
    choices: [enabled, disabled]
    default: enabled
  mode:
    description: How the sockets are registered. By default what is best for the systemd of the host.
    type: str
    choices: [companion, exec]
  executable:
    description: The command sockreg, if it is in an unusual place.
    type: path
attributes:
  check_mode:
    description: Has the host look whether the units would be refused, and changes nothing.
    support: full
  diff_mode:
    description: There is no diff.
    support: none
"""

EXAMPLES = r"""
- name: Register the sockets of web.socket
  sockreg.sockreg.unit:
    name: web.socket
"""

RETURN = r"""
units:
  description: The units that change.
  type: list
  elements: str
  returned: success
commands:
  description: The commands of systemctl that were run, or would be in check mode.
  type: list
  returned: when units are enabled
"""

import os

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.sockreg.sockreg.plugins.module_utils.command import EXECUTABLE, Sockreg

DROP_IN = "/etc/systemd/system/{}.d/50-sockreg.conf"  # of mode exec


def is_enabled(module, unit):
    """In mode companion or exec."""
    companion = f"sockreg@{unit[: -len('.socket')]}.service"
    status, said, _ = module.run_command(["systemctl", "is-enabled", "--", companion])
    return (status == 0 and said.strip() != "static") or os.path.exists(DROP_IN.format(unit))


def is_active(module, unit):
    return module.run_command(["systemctl", "is-active", "--quiet", "--", unit])[0] == 0


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            **EXECUTABLE,
            "name": {"type": "list", "elements": "str", "required": True},
            "state": {"type": "str", "choices": ["enabled", "disabled"], "default": "enabled"},
            "mode": {"type": "str", "choices": ["companion", "exec"]},
        },
        supports_check_mode=True,
    )
    sockreg = Sockreg(module)
    names = [it if it.endswith(".socket") else f"{it}.socket" for it in module.params["name"]]
    counted = set((sockreg.status() or {}).get("units", []))
    if module.params["state"] == "enabled":
        units = [
            unit
            for unit in names
            if unit not in counted or not is_enabled(module, unit) or not is_active(module, unit)
        ]
    else:
        units = [unit for unit in names if unit in counted or is_enabled(module, unit)]
    result = {"changed": bool(units), "units": units}
    if units:
        verb = "enable" if module.params["state"] == "enabled" else "disable"
        options = ["--mode", module.params["mode"]] if module.params["mode"] else []
        options = options if verb == "enable" else []
        options += ["--dry-run"] if module.check_mode else []
        done = sockreg.ask(verb, *options, *units)[f"{verb}d"]
        result["commands"] = done.get("commands", [])
    module.exit_json(**result)


if __name__ == "__main__":
    main()
