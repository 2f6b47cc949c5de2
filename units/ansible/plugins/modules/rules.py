#!/usr/bin/python
# SPDX-License-Identifier: MIT
"""Rules of sockreg in conf files."""

from __future__ import annotations

DOCUMENTATION = r"""
module: rules
short_description: Write conf files of sockreg and put their rules in force
description:
  - Writes all files and swaps the rules in, in one step. If a rule is wrong, ties with another one, or takes the
    port of ssh, the module fails with each problem and its place, and neither files nor rules change.
  - The rules of all files of the host come into force, also of those that others have edited before.
author:
  - sockreg maintainers (@sockreg)
options:
  files:
    description:
      - Names of files, such as C(web.conf), and what is in them. A file without text (null) must not be there.
    type: dict
    required: true
  directory:
    description: Where the files are.
    type: path
    default: /etc/sockreg
  confirm:
    description:
      - Put the rules in force for a trial. Unless M(sockreg.sockreg.trial) confirms them within so many seconds, the
        host goes back to the rules it had, by itself. V(0) is no trial.
    type: int
    default: 0
  force:
    description: Let rules take the port of ssh.
    type: bool
    default: false
  executable:
    description: The command sockreg, if it is in an unusual place.
    type: path
attributes:
  check_mode:
    description: Has the host read the rules, and shows which ones would come and go.
    support: full
  diff_mode:
    description: Shows the files, and the rules in force.
    support: full
"""

EXAMPLES = r"""
- name: Port 80 of a prefix goes to the sockets with label web
  sockreg.sockreg.rules:
    files:
      web.conf: |
        [web]
        Bind=tcp 192.0.2.0/24 80
      old.conf: null
    confirm: 120
"""

RETURN = r"""
added:
  description: The rules that come into force.
  type: list
  elements: str
  returned: success
removed:
  description: The rules that go out of force.
  type: list
  elements: str
  returned: success
previous:
  description: What was in the files that change; null for one that was not there.
  type: dict
  returned: success
notices:
  description: What sockreg remarks about the rules.
  type: list
  elements: str
  returned: success
generation:
  description: The generation in force.
  type: int
  returned: success
trial:
  description: Whether rules are in force for a trial, which waits for a confirmation.
  type: bool
  returned: success
"""

import os

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.sockreg.sockreg.plugins.module_utils.command import (
    EXECUTABLE,
    Sockreg,
    put_in_force,
)


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            **EXECUTABLE,
            "files": {"type": "dict", "required": True},
            "directory": {"type": "path", "default": "/etc/sockreg"},
            "confirm": {"type": "int", "default": 0},
            "force": {"type": "bool", "default": False},
        },
        supports_check_mode=True,
    )
    given = module.params
    wanted = {}
    for name, text in given["files"].items():
        if not isinstance(text, (str, type(None))):
            module.fail_json(
                msg=f"{name}: a text is expected, or null for a file that must not be there"
            )
        wanted[os.path.join(given["directory"], name)] = text
    put_in_force(module, Sockreg(module), wanted, given["force"], given["confirm"])


if __name__ == "__main__":
    main()
