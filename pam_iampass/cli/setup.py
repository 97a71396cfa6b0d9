"""`pam-iampass setup`: makes sshd, sudo and su ask the phone, and takes that back."""

from __future__ import annotations

import contextlib
import datetime
import json
import os
import sys
import time
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

import click

from pam_iampass.errors import Severity
from pam_iampass.text import clean

if TYPE_CHECKING:
    from pam_iampass.setup.checks import CheckResult
    from pam_iampass.setup.manifest import Trial
    from pam_iampass.setup.plan import Plan
    from pam_iampass.setup.work import Setup, State

_EPILOG = """\b
Examples:
  pam-iampass setup sudo --dry-run       show every file that would change, and change nothing
  pam-iampass setup sudo --try 10        try it: in ten minutes all is as before, unless confirmed
  pam-iampass setup --confirm            keep it, once a login has gone through
  pam-iampass setup sshd --key           ssh: a key, then the phone
  pam-iampass setup sshd --password      ssh: the password, then the phone
  pam-iampass setup --status
  pam-iampass setup --undo               everything as it was
"""

_STYLES = {"ok": "green", "warning": "yellow", "error": "bold red", "kept": "yellow", "to do": "bold yellow"}
_WORDS = {"on": "green", "off": "", "by hand": "yellow", "broken off": "bold red", "changed": "bold yellow"}


@click.command(epilog=_EPILOG, short_help="Make sshd, sudo or su ask the phone, or undo that.")
@click.argument("services", nargs=-1, type=click.Choice(["sshd", "sudo", "su"]))
@click.option(
    "--key", "choice", flag_value="key", help="For sshd: a key comes before the phone (the default)."
)
@click.option(
    "--password", "choice", flag_value="password", help="For sshd: the password comes before the phone."
)
@click.option("--dry-run", is_flag=True, help="Check, show every change as a diff, and change nothing.")
@click.option(
    "--try",
    "minutes",
    type=click.IntRange(1, 24 * 60),
    metavar="MINUTES",
    help="Put everything back after so many minutes, unless it is confirmed.",
)
@click.option(
    "--confirm", is_flag=True, help="Keep what is on trial. A login through it must have succeeded."
)
@click.option("--undo", is_flag=True, help="Put back the files of these services (of all, if none is named).")
@click.option("--status", is_flag=True, help="Say what is set up.")
@click.option("--force", is_flag=True, help="Go on where you might lock yourself out, or a file was edited.")
@click.option("--json", "as_json", is_flag=True, help="With --status: write one JSON object instead of text.")
@click.option("--trial-over", metavar="NAME", hidden=True)
@click.option("--at", "deadline", type=float, hidden=True)
@click.pass_context
def command(
    ctx: click.Context,
    services: tuple[str, ...],
    choice: str | None,
    dry_run: bool,
    minutes: int | None,
    confirm: bool,
    undo: bool,
    status: bool,
    force: bool,
    as_json: bool,
    trial_over: str | None,
    deadline: float | None,
) -> None:
    """Make SERVICES (sshd, sudo, su) ask the phone after the key or the password; or take that back.

    Our own PAM files are written to /etc/pam.d and chosen by one drop-in each, in /etc/ssh/sshd_config.d and
    /etc/sudoers.d. Only for su, and for an sshd before 9.8, one line of another package's PAM file is changed. What
    was there before is kept below /var/lib/pam-iampass/setup, and --undo restores it exactly.

    Before anything is written it is checked: the settings; whether you would still get in; sshd -T and visudo -c on
    the result; and a real run of the new PAM files, which rings nobody's phone. If any of that fails, nothing is
    changed.

    With --try everything is put back after some minutes unless you confirm it, from a new login that has gone
    through the phone. That happens even if this terminal is closed, and where systemd runs, after a reboot too.

    The exit status is 0 when it is done, 1 when it is not, 2 for wrong usage.
    """
    from pam_iampass.setup.work import Setup

    _refuse_nonsense(
        services, choice, dry_run, minutes, [confirm, undo, status, trial_over is not None], as_json
    )
    _must_be_root()
    setup = Setup(_told)
    if trial_over is not None:
        setup.end_trial(trial_over, deadline)
    elif status:
        _show_status(setup, as_json)
    elif confirm:
        kept = setup.confirm(force=force)
        _line("done", f"{_and(kept.services)}: no longer on trial. pam-iampass setup --undo takes it back.")
    elif undo:
        _undo(setup, services, force)
    else:
        ctx.exit(_set_up(setup, services, choice, dry_run, minutes, force))


def _refuse_nonsense(
    services: tuple[str, ...],
    choice: str | None,
    dry_run: bool,
    minutes: int | None,
    modes: list[bool],
    as_json: bool,
) -> None:
    confirm, _, status, _ = modes
    if sum(modes) > 1:
        raise click.UsageError("--confirm, --undo and --status exclude each other")
    if any(modes) and (choice or dry_run or minutes):
        raise click.UsageError("--key, --password, --dry-run and --try are for setting up")
    if (confirm or status) and services:
        raise click.UsageError("--confirm and --status are about all services: name none")
    if not any(modes) and not services:
        raise click.UsageError("name the services: sshd, sudo, su")
    if choice and "sshd" not in services:
        raise click.UsageError(f"--{choice} is for sshd")
    if dry_run and minutes:
        raise click.UsageError("--dry-run changes nothing: there is nothing to try")
    if as_json and not status:
        raise click.UsageError("--json is for --status")


def _must_be_root() -> None:
    if os.geteuid() != 0:
        raise click.ClickException("this reads and changes files of root's: run it as root")


def _set_up(
    setup: Setup, services: Sequence[str], choice: str | None, dry_run: bool, minutes: int | None, force: bool
) -> int:
    from pam_iampass.setup.checks.configuration import admin

    names = [name for name in ("sshd", "sudo", "su") if name in services]
    plans = setup.plans(names, choice, force=force)
    for plan in plans:
        _show_changes(plan)
    if not any(plan.changes for plan in plans):
        _line("ok", "nothing to change: it is set up already")
        return 0
    stopped = _check(setup.check(plans, admin(dict(os.environ))), force)
    if stopped:
        _say(stopped, "bold red")
        return 1
    if dry_run:
        _say("Nothing was changed (--dry-run).", "bold")
        return 0
    trial = setup.set_up(plans, minutes)
    _say(_afterwards(names, trial), "bold")
    return 0


def _check(findings: Iterable[CheckResult], force: bool) -> str:
    """Show what is found; returns why not to go on, or nothing."""
    reasons = []
    for finding in findings:
        word = {None: "ok", Severity.WARNING: "warning", Severity.ERROR: "error"}[finding.severity]
        _line(word, finding.what)
        if finding.remedy:
            _line("", finding.remedy)
        if finding.stops and not (finding.forcible and force):
            reasons.append(finding)
    if not reasons:
        return ""
    if all(finding.forcible for finding in reasons):
        return "Nothing was changed. With --force it is done all the same; best together with --try."
    return "Nothing was changed."


def _afterwards(names: Sequence[str], trial: Trial | None) -> str:
    if trial is None:
        what = (
            "Keep this terminal open, and try a login from another one." if "sshd" in names else "Try it now."
        )
        return f"{_asks(names)} the phone. {what} pam-iampass setup --undo takes it back."
    from pam_iampass.setup.trial import PROCESS_KEEPER
    from pam_iampass.setup.work import how_to_try

    until = _time(trial.deadline)
    way = how_to_try(names)
    text = (
        f"{_asks(names)} the phone, on trial until {until}: then everything is put back by itself.\n"
        f"{way[0].upper()}{way[1:]}.\nIf that works, keep it with: pam-iampass setup --confirm"
    )
    if trial.keeper == PROCESS_KEEPER:
        text += (
            "\nThere is no systemd here, so a process waits to put it back, and a reboot would end that process:"
            "\nafter a reboot, pam-iampass setup --undo does it."
        )
    return text


def _asks(names: Sequence[str]) -> str:
    return f"{_and(names)} now {'asks' if len(names) == 1 else 'ask'}"


def _undo(setup: Setup, services: tuple[str, ...], force: bool) -> None:
    done = setup.undo(services or None, force=force)
    for name in services:
        if name not in done:
            _line("ok", f"{name} was not set up: nothing to undo")
    if done:
        _say(f"{_and(done)} {'is as it was' if len(done) == 1 else 'are as they were'} before.", "bold")
    elif not services:
        _line("ok", "nothing was set up: nothing to undo")


def _show_changes(plan: Plan) -> None:
    for change in plan.changes:
        for line in change.diff:
            style = {"+": "green", "-": "red", "@": "cyan"}.get(line[:1], "")
            _say(line, "bold" if line.startswith(("+++", "---")) else style)


def _show_status(setup: Setup, as_json: bool) -> None:
    states, trial = setup.status()
    if as_json:
        click.echo(json.dumps(_as_object(states, trial), indent=2))
        return
    for state in states:
        _show_state(state)
    if trial is not None:
        over = (
            "is over, and was not put back: pam-iampass setup --undo" if trial.deadline < time.time() else ""
        )
        _line(
            "trial", f"{_and(trial.services)}: until {_time(trial.deadline)} {over}".rstrip(), "bold yellow"
        )


def _show_state(state: State) -> None:
    text = state.word
    if state.choice:
        text += f", {'a key' if state.choice == 'key' else 'the password'} and the phone"
    if state.since is not None:
        text += f", since {_time(state.since)}"
    remedy = {
        "broken off": "it was not finished: set it up again, or pam-iampass setup --undo",
        "changed": "files were changed since: set it up again, or pam-iampass setup --undo",
        "by hand": "the files were put there by hand: --undo does not know what was before",
    }.get(state.word)
    _line(state.name, text, _WORDS[state.word])
    if remedy:
        _line("", remedy)
    for path, diff in state.conflicts:
        _line("", f"{path}:")
        for line in diff:
            _line("", line)


def _as_object(states: Sequence[State], trial: Trial | None) -> dict[str, object]:
    return {
        "services": {
            state.name: {
                "state": state.word.replace(" ", "_"),
                "first_factor": state.choice or None,
                "since": _iso(state.since),
                "changed_files": [str(path) for path, _ in state.conflicts],
            }
            for state in states
        },
        "trial": trial
        and {
            "services": list(trial.services),
            "started": _iso(trial.started),
            "until": _iso(trial.deadline),
            "over": trial.deadline < time.time(),
            "kept_by": trial.keeper,
        },
    }


def _iso(moment: float | None) -> str | None:
    if moment is None:
        return None
    return datetime.datetime.fromtimestamp(moment, datetime.timezone.utc).isoformat(timespec="seconds")


def _time(moment: float) -> str:
    return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(moment))


def _and(names: Sequence[str]) -> str:
    return ", ".join(names[:-1]) + f" and {names[-1]}" if len(names) > 1 else names[0]


def _told(word: str, what: str) -> None:
    """One thing that was done. A terminal that is gone must not keep the rest from being done."""
    with contextlib.suppress(OSError):
        _line(word, what)


def _line(word: str, text: str, style: str | None = None) -> None:
    label = clean(word).ljust(9)
    if sys.stdout.isatty() and word:
        label = _styled(label, _STYLES.get(word, "") if style is None else "")
        text = _styled(clean(text, 2000), style or "")
        click.echo(f"{label} {text}")
    else:
        click.echo(f"{label} {clean(text, 2000)}".rstrip())


def _say(text: str, style: str = "") -> None:
    for line in text.split("\n"):
        click.echo(_styled(clean(line, 2000), style) if sys.stdout.isatty() else clean(line, 2000))


def _styled(text: str, style: str) -> str:
    words = style.split()
    colour = next((word for word in words if word != "bold"), None)
    plain = not style or "NO_COLOR" in os.environ
    return text if plain else click.style(text, fg=colour, bold="bold" in words or None)
