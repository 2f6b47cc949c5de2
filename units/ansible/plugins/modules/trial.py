#!/usr/bin/python
# SPDX-License-Identifier: MIT
"""The end of a trial of rules."""

from __future__ import annotations

DOCUMENTATION = r"""
module: trial
short_description: Confirm rules of sockreg that are in force for a trial, or take them back
description:
  - Ends a trial that M(sockreg.sockreg.rules) has begun with O(sockreg.sockreg.rules#module:confirm).
author:
  - sockreg maintainers (@sockreg)
options:
  state:
    description:
      - With V(confirmed), the rules stay. With V(reverted), the rules come back that were in force before the trial.
        Nothing changes if there is no trial.
    type: str
    choices: [confirmed, reverted]
    default: confirmed
  generation:
    description: Fail if another generation is in force, because the trial has ended by itself.
    type: int
  executable:
    description: The command sockreg, if it is in an unusual place.
    type: path
attributes:
  check_mode:
    description: Says whether there is a trial, and changes nothing.
    support: full
  diff_mode:
    description: There is no diff.
    support: none
"""

EXAMPLES = r"""
- name: Keep the rules
  sockreg.sockreg.trial:
    generation: "{{ rules.generation }}"
"""

RETURN = r"""
generation:
  description: The generation in force.
  type: int
  returned: success
"""

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.sockreg.sockreg.plugins.module_utils.command import EXECUTABLE, Sockreg


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            **EXECUTABLE,
            "state": {"type": "str", "choices": ["confirmed", "reverted"], "default": "confirmed"},
            "generation": {"type": "int"},
        },
        supports_check_mode=True,
    )
    sockreg = Sockreg(module)
    status = sockreg.status()
    if status is None and module.check_mode:
        module.exit_json(changed=False, generation=None)
    if status is None:
        module.fail_json(msg="nothing is loaded: start sockreg.service")
    generation, expected = status["generation"], module.params["generation"]
    is_lost = expected is not None and generation != expected and not module.check_mode
    if module.params["state"] == "confirmed" and is_lost:
        module.fail_json(
            msg=f"generation {expected} is not in force any more, but generation {generation}: the trial has "
            "ended before its confirmation"
        )
    changed = status["trial"] is not None
    if changed and not module.check_mode:
        if module.params["state"] == "confirmed":
            generation = sockreg.ask("confirm")["confirmed"]["generation"]
        else:
            generation = sockreg.ask("rollback")["change"]["generation"]
    module.exit_json(changed=changed, generation=generation)


if __name__ == "__main__":
    main()
