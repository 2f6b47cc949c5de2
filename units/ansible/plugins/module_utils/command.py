# SPDX-License-Identifier: MIT
"""The command sockreg on a managed host."""

from __future__ import annotations

import json
import os
import shutil
import tempfile

NOT_LOADED = 7  # the exit status for "nothing is loaded"
PARTLY = 8  # and for "done in part": the messages say what was left out
EXECUTABLE = {"executable": {"type": "path"}}  # an option that all modules have
_PLACES = ("/usr/local/bin", "/opt/sockreg/bin")


class Sockreg:
    """Runs the command for a module, and fails the module with its words."""

    def __init__(self, module) -> None:
        self._module = module
        self._command = module.params["executable"] or module.get_bin_path(
            "sockreg", required=True, opt_dirs=list(_PLACES)
        )

    def ask(self, *arguments, accept=()):
        """The object that a verb prints; None if it ends with one of the statuses in ``accept``."""
        status, out, err = self._module.run_command([self._command, "--json", *arguments])
        if status in accept:
            return None
        body = _parsed(out)
        if status == PARTLY and body:
            self._module.warn(err.strip())
        elif status != 0:
            error = body.get("error", {})
            problems = error.get("problems") or [err.strip() or f"it ended with status {status}"]
            self._module.fail_json(
                msg=f"sockreg {arguments[0]}: " + "\n".join(problems),
                status=status,
                problems=problems,
                hint=error.get("hint", ""),
            )
        return body

    def status(self):
        """What ``sockreg status`` shows; None if nothing is loaded."""
        body = self.ask("status", "--lines", "0", accept=(NOT_LOADED,))
        return None if body is None else body["status"]

    def apply(self, files, *options):
        """Apply with conf files that are written in the same step; a text of None removes one."""
        directory = tempfile.mkdtemp(dir=self._module.tmpdir)
        arguments = ["apply", *options]
        try:
            for number, (path, text) in enumerate(sorted(files.items())):
                if text is None:
                    arguments += ["--remove", path]
                    continue
                source = os.path.join(directory, str(number))
                with open(source, "w", encoding="utf-8", errors="surrogateescape") as file:
                    file.write(text)
                arguments += ["--put", path, source]
            return self.ask(*arguments)["change"]
        finally:
            shutil.rmtree(directory, ignore_errors=True)


def text_of(module, path):
    """What is in a file; None if it is not there."""
    try:
        with open(path, encoding="utf-8", errors="surrogateescape") as file:
            return file.read()
    except FileNotFoundError:
        return None
    except OSError as error:
        module.fail_json(msg=f"{path}: cannot be read: {error.strerror}")


def rule_line(rule):
    """A rule of a change as people write it, with its label."""
    return f"{rule['action']} {rule['label']}: {rule['rule']}\n"


def put_in_force(module, sockreg, wanted, force=False, confirm=0):
    """Have the files as ``wanted`` and the rules of all files in force. Exits the module.

    ``wanted`` is path -> text, None for a file that must not be there. In check mode, nothing
    changes, and the result says what would.
    """
    before = {path: text_of(module, path) for path in wanted}
    changed = {path: text for path, text in wanted.items() if before[path] != text}
    options = ["--force"] if force else []
    status = sockreg.status()
    if status is None and module.check_mode:
        module.warn("sockreg.service does not run, so that the rules cannot be checked")
        module.exit_json(changed=bool(changed), trial=False, generation=None)
    change = sockreg.apply(changed, "--check", *options)
    status = status or {}
    result = {
        "changed": bool(changed or change["added"] or change["removed"]),
        "previous": {path: before[path] for path in changed},
        "added": [rule_line(rule).rstrip() for rule in change["added"]],
        "removed": [rule_line(rule).rstrip() for rule in change["removed"]],
        "notices": change["notices"],
        "generation": status.get("generation"),
        "trial": status.get("trial") is not None,
        "diff": [
            *(
                {
                    "before_header": path,
                    "after_header": path,
                    "before": before[path] or "",
                    "after": text or "",
                }
                for path, text in sorted(changed.items())
            ),
            {
                "before_header": "rules in force",
                "after_header": "rules in force",
                "before": "".join(map(rule_line, change["removed"])),
                "after": "".join(map(rule_line, change["added"])),
            },
        ],
    }
    if result["changed"] and not module.check_mode:
        if confirm:
            options += ["--confirm", str(confirm)]
        done = sockreg.apply(changed, *options)
        result["generation"] = done["generation"]
        result["notices"] = done["notices"]
        status = sockreg.status() or {}
        result["trial"] = status.get("trial") is not None
    module.exit_json(**result)


def _parsed(out):
    try:
        return json.loads(out)
    except ValueError:
        return {}
