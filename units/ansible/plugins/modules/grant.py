#!/usr/bin/python
# SPDX-License-Identifier: MIT
"""Grants of sockreg: who besides root may register sockets under a label."""

from __future__ import annotations

DOCUMENTATION = r"""
module: grant
short_description: Let users, groups or units register sockets with sockreg
description:
  - Keeps one Register= line in a conf file. Other lines of the file stay as they are.
author:
  - sockreg maintainers (@sockreg)
options:
  label:
    description: The label of the sockets.
    type: str
    required: true
  to:
    description: Who may register them, C(user:NAME), C(group:NAME) or C(unit:NAME).
    type: str
    required: true
  members:
    description: How many members the label may have.
    type: int
    default: 1
  state:
    description: Whether there is such a grant.
    type: str
    choices: [present, absent]
    default: present
  path:
    description: The conf file.
    type: path
    default: /etc/sockreg/grants.conf
  executable:
    description: The command sockreg, if it is in an unusual place.
    type: path
attributes:
  check_mode:
    description: Has the host read the line, and changes nothing.
    support: full
  diff_mode:
    description: Shows the file.
    support: full
"""

EXAMPLES = r"""
- name: User alice may serve label blog
  sockreg.sockreg.grant:
    label: blog
    to: user:alice
"""

RETURN = r"""
previous:
  description: What was in the file, if it changes; null if it was not there.
  type: dict
  returned: success
"""

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.sockreg.sockreg.plugins.module_utils.command import (
    EXECUTABLE,
    Sockreg,
    put_in_force,
    text_of,
)


def with_grant(text, label, to, members):
    """The text of a conf file with the grant, or without it if ``members`` is 0."""
    lines = text.splitlines()
    kept = []
    section, last, is_there = "", -1, False
    for line in lines:
        stripped = line.strip()
        if stripped.startswith("[") and stripped.endswith("]"):
            section = stripped[1:-1]
        key, _, value = stripped.partition("=")
        words = value.split()
        if section == label and key.strip() == "Register" and words[:1] == [to]:
            if is_there or not members:
                continue
            is_there = True
            line = grant_line(to, members)
        kept.append(line)
        if section == label and stripped:
            last = len(kept)
    if members and not is_there:
        added = grant_line(to, members)
        if last >= 0:
            kept.insert(last, added)
        else:
            kept += [*([""] if kept else []), f"[{label}]", added]
    kept = without_empty_section(kept, label)
    return "\n".join(kept) + "\n" if kept else ""


def grant_line(to, members):
    """The line of a grant; 1 is what it means without a number."""
    return f"Register={to}" if members == 1 else f"Register={to} {members}"


def without_empty_section(lines, label):
    """The lines, without a section of the label that has nothing in it."""
    kept = []
    for number, line in enumerate(lines):
        following = [it.strip() for it in lines[number + 1 :] if it.strip()]
        if line.strip() == f"[{label}]" and (not following or following[0].startswith("[")):
            while kept and not kept[-1].strip():
                kept.pop()
            continue
        kept.append(line)
    while kept and not kept[0].strip():
        kept.pop(0)
    return kept


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            **EXECUTABLE,
            "label": {"type": "str", "required": True},
            "to": {"type": "str", "required": True},
            "members": {"type": "int", "default": 1},
            "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
            "path": {"type": "path", "default": "/etc/sockreg/grants.conf"},
        },
        supports_check_mode=True,
    )
    given = module.params
    members = given["members"] if given["state"] == "present" else 0
    if given["state"] == "present" and members < 1:
        module.fail_json(msg=f"members: {members} is not a number of members from 1 on")
    before = text_of(module, given["path"])
    after = with_grant(before or "", given["label"], given["to"], members)
    wanted = {given["path"]: after or None}
    if before == after or (not before and not after):
        wanted = {}
    put_in_force(module, Sockreg(module), wanted)


if __name__ == "__main__":
    main()
