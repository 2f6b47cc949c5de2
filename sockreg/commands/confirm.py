"""Changes that revert by themselves: apply --confirm, confirm, and the end of the trial.

An operator who is locked out cannot confirm, so the trial must not depend on the session. If
systemd runs this network namespace, a timer of systemd ends the trial. Otherwise, a process in its
own session (setsid(2)) does, which a hangup of the terminal does not reach.
"""

from __future__ import annotations

import subprocess
import sys
import time

from sockreg import interrupts, shipped
from sockreg.commands import tell, trial_files
from sockreg.commands.apply import configuring, failure_published, put_in_force, writing
from sockreg.commands.change import Change
from sockreg.commands.rollback import swap_back
from sockreg.commands.watch import is_systemds
from sockreg.config.conf import Overlay
from sockreg.context import Context
from sockreg.errors import (
    EXIT_FAILURE,
    RefusedError,
    SockregError,
    UsageError,
)
from sockreg.host import detached
from sockreg.registry import generations, published, trial
from sockreg.registry.directory import not_in_force
from sockreg.registry.trial import Unconfirmed
from sockreg.systemd import journal

SECONDS_MAX = 86400
_POLL = 0.2  # s between two checks for a confirmation
_SETTINGS = ("AccuracySec=100ms", "RemainAfterElapse=no")


def apply_on_trial(
    context: Context, seconds: int, *, force: bool = False, files: Overlay | None = None
) -> tuple[Change, Unconfirmed | None]:
    """Apply, and revert after ``seconds`` unless ``confirm`` comes first.

    Rules may take the ssh port. ``force`` lets them come from another root. ``files`` are written
    in the same step, and go back with the rules. The second value is None if nothing changed. If
    this raises SockregError, the rules in force have not changed, and an earlier trial continues.
    """
    if not 1 <= seconds <= SECONDS_MAX:
        message = f"--confirm {seconds}: expected a number of seconds from 1 to {SECONDS_MAX}"
        raise UsageError(message, "")
    with configuring(context, force=force) as writer:
        current = generations.in_force(writer.registry)
        if current is None:
            raise not_in_force(writer.registry)
        earlier = trial.read(writer.registry)
        # Of several changes in a row, the first determines the generation to return to.
        base = earlier[0].base if earlier else current.number
        waiting = trial.after(seconds, base)
        noted = trial_files.noted(context)
        # Until the change is in force, the earlier trial goes on: this may be refused, or die.
        trial.write(writer.registry, [*earlier, waiting])
        try:
            # First, because a change that nothing would revert must not come into force.
            with failure_published(writer.registry):
                _arm(context, waiting, seconds)
                trial_files.note(context, waiting, files or {})
                change = put_in_force(
                    writer, writer.active_units(), files or {}, force=True, on_trial=True
                )
        except BaseException:
            trial.write(writer.registry, earlier)
            trial_files.note_again(context, noted)
            raise
        goes_back = change.swapped or bool(earlier)
        trial.write(writer.registry, [waiting] if goes_back else [])
        if not goes_back:
            trial_files.forget(context)
    tell.applied(change)
    return change, waiting if goes_back else None


def confirm(context: Context) -> int:
    """Keep the rules in force. Returns their generation. Raises SockregError without a trial."""
    with writing(context) as writer:
        found = trial.read(writer.registry)
        current = generations.in_force(writer.registry)
        if not found or current is None:
            raise SockregError(
                "there is no trial to confirm",
                "it was confirmed before, or has been reverted: 'sockreg rules' shows the rules "
                "in force, 'sockreg apply --confirm SECONDS' tries again",
            )
        with interrupts.dropped():
            trial.write(writer.registry, [])
            trial_files.forget(context)
    if context.is_of_systemd or _may_be_of_systemd(context):
        # They would do nothing, but would be listed among the timers until then.
        timers = [f"{_unit(waiting)}.timer" for waiting in found]
        subprocess.run(["systemctl", "stop", *timers], check=False, capture_output=True)
    return current.number


def end_trial(context: Context, token: str) -> Change | None:
    """Wait until the deadline of a trial. Revert it if it is still not confirmed.

    Returns None if there is nothing to revert. If the earlier rules would take the ssh port from
    where it is now, the trial ends without them: nobody could repair that.
    """
    waiting = trial.parse_token(token)
    while waiting.seconds_left > 0 and _is_pending(context, waiting):
        time.sleep(min(_POLL, max(waiting.seconds_left, 0)))
    if not _is_pending(context, waiting):
        return None
    with writing(context) as writer:
        if waiting not in trial.read(writer.registry):
            return None
        current = generations.in_force(writer.registry)
        change = None
        if current is not None and current.number != waiting.base:
            try:
                # Who got a label during the trial only got it by what is undone now.
                change = swap_back(
                    writer,
                    current,
                    waiting.base,
                    take_labels=True,
                    started=writer.active_units(),
                )
            except RefusedError as error:
                trial.write(writer.registry, [])
                trial_files.forget(context)
                stays = (
                    f"generation {current.number} stays in force, although it was not confirmed: "
                    f"generation {waiting.base}"
                )
                journal.record(
                    [f"{stays} would lock out ssh: {error.lines[0]}", *error.lines[1:]],
                    journal.APPLY_REFUSED,
                    journal.ERR,
                )
                raise
            # As after a failed apply, the files differ from the rules in force.
            published.publish_outcome(writer.registry, EXIT_FAILURE)
            restored = trial_files.put_back(context)
            again = f"generation {waiting.base} is in force again"
            if change.generation != waiting.base:
                again = f"the rules of generation {waiting.base} are in force again"
            still = "the files still have its rules"
            if restored:
                still = f"what was in {', '.join(restored)} before is there again"
            journal.say(
                f"{again}: generation {current.number} was not confirmed; {still}",
                journal.WENT_BACK,
                journal.WARNING,
                {"SOCKREG_GENERATION": str(change.generation)},
            )
        trial.write(writer.registry, [])
    if change is not None:
        tell.applied(change)
    return change


def _is_pending(context: Context, waiting: Unconfirmed) -> bool:
    return context.is_loaded and waiting in trial.read(context.registry)


def _arm(context: Context, waiting: Unconfirmed, seconds: int) -> None:
    """Have ``end_trial`` run at the deadline, even if this process and its parents have ended."""
    arguments = ["--bpffs", context.bpffs, "--root", context.root]
    command = [sys.executable, "-I", str(shipped.PACKAGE / "__main__.py"), *arguments]
    command += ["rollback", "--unconfirmed", waiting.token]
    if not context.is_of_systemd:
        # systemd kills it with the unit that it belongs to.
        detached.run(command)
        if _may_be_of_systemd(context):
            _set_timer(waiting, seconds, command)
        return
    done = _set_timer(waiting, seconds, command)
    if done.returncode != 0:
        raise SockregError(
            f"cannot set the timer that would revert the change: {done.stderr.strip()}",
            "nothing was changed; 'systemd-run --on-active=1 true' should work here",
        )


def _may_be_of_systemd(context: Context) -> bool:
    """Whether a timer of systemd perhaps finds this registry.

    A unit that has mounts of its own cannot know. Where the timer finds another registry, or none,
    it does nothing.
    """
    return context.root == "/" and is_systemds(context)


def _set_timer(
    waiting: Unconfirmed, seconds: int, command: list[str]
) -> subprocess.CompletedProcess[str]:
    timer = [f"--timer-property={setting}" for setting in _SETTINGS]
    unit = ["--collect", f"--unit={_unit(waiting)}"]
    about = f"--description=Socket registry, return to generation {waiting.base}"
    run = ["systemd-run", "--quiet", f"--on-active={seconds}s", *timer, *unit, about, "--"]
    return subprocess.run(
        [*run, *command],
        check=False,
        capture_output=True,
        encoding="utf-8",
        errors="surrogateescape",
    )


def _unit(waiting: Unconfirmed) -> str:
    return f"sockreg-unconfirmed-{waiting.token}"
