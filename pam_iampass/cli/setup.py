"""`pam-iampass setup`: makes PAM services ask the phone, and undoes that."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Iterable, Mapping, Sequence
from itertools import chain

import click

from pam_iampass.agent import control
from pam_iampass.audit.journal import Act, Journal
from pam_iampass.audit.query import rescues_since
from pam_iampass.cli.output import STYLES, line, moment, record, show_json, timestamp
from pam_iampass.cli.parameters import CommandWithVerbs, OwnArgument, Parsed, json_option, seconds
from pam_iampass.config.settings import DEFAULT_PATH
from pam_iampass.errors import PamIampassError, Problem, Severity
from pam_iampass.pam.modules import ALWAYS
from pam_iampass.pam.services import why_unsuitable
from pam_iampass.pam.stack import PamFiles
from pam_iampass.setup import sandbox_use
from pam_iampass.setup.checks import admin
from pam_iampass.setup.manifest import Trial
from pam_iampass.setup.operations import ServiceStatus, Setup
from pam_iampass.setup.plan import SERVICES
from pam_iampass.setup.trial import how_to_try

_RESCUES_SECONDS = 7 * 86400
"""A machine may have been off, or without a gateway, for a while."""
_MOST_RESCUES = 100
"""The number of one user's reports that the agent lets wait."""

_EPILOG = """\b
Examples:
  pam-iampass setup sudo --dry-run       show every file that would change, and change nothing
  pam-iampass setup sudo --try 10m       undo it after ten minutes, unless you confirm it
  pam-iampass setup confirm              keep it, after a login has worked
  pam-iampass setup sshd                 ssh: any first factor, then the phone, without a prompt
  pam-iampass setup sshd --codes         the same; users without their phone type a recovery code
  pam-iampass setup sshd --prompt        ssh: a key, a prompt, then the phone
  pam-iampass setup sshd --password      ssh: the password, a prompt, then the phone
  pam-iampass setup sudo --always        sudo asks for each command, also under NOPASSWD
  pam-iampass setup polkit-1 doas        pkexec, run0 and doas: the password, then the phone
  pam-iampass setup status
  pam-iampass setup undo                 undo everything
"""

_LEFT = {"kept": "yellow", "left": "yellow", "to do": "bold yellow"}
_STYLES = {**STYLES, **_LEFT}
_WORDS = {"on": "green", "off": "", "by hand": "yellow", "broken off": "bold red", "changed": "bold yellow"}
_CHOICES = {
    "key": "a key",
    "password": "the password",
    "quiet": "any first factor, no prompt,",
    "codes": "any first factor, no prompt, recovery codes,",
}
_WAYS = {"no_prompt": "quiet", "prompt": "key"}
_SET_UP_AGAIN = "set it up again, or restore it: pam-iampass setup undo"
_REMEDIES = {
    "broken off": f"the last setup was interrupted: {_SET_UP_AGAIN}",
    "changed": f"lines were changed since: {_SET_UP_AGAIN}",
    "by hand": "setup has no record of these lines: to undo them, set it up again first",
}


def _complete(ctx: click.Context, _parameter: click.Parameter, incomplete: str) -> list[str]:
    """The PAM services of this machine that can be set up, and the verbs."""
    verbs = ctx.command.list_commands(ctx) if isinstance(ctx.command, click.Group) else []
    services = [name for name in (*SERVICES, *PamFiles().names()) if why_unsuitable(name) is None]
    return [name for name in dict.fromkeys((*services, *verbs)) if name.startswith(incomplete)]


def _trial_time(text: str) -> int:
    """Raises ValueError."""
    found = seconds(text)
    if not 60 <= found <= 86400:
        raise ValueError("is not from 1m to 24h")
    return found


@click.group(
    cls=CommandWithVerbs,
    is_argument=lambda word: word in SERVICES or PamFiles().path(word) is not None,
    invoke_without_command=True,
    epilog=_EPILOG,
    short_help="Make PAM services ask the phone, or undo it.",
)
@click.argument(
    "services",
    cls=OwnArgument,
    nargs=-1,
    metavar="SERVICES...",
    shell_complete=_complete,
)
@click.option(
    "--no-prompt",
    is_flag=True,
    help="For sshd: ask the phone after any first factor, without a prompt, for every client (the default).",
)
@click.option(
    "--codes",
    is_flag=True,
    help="For sshd without passwords: as --no-prompt, or a recovery code and then the key.",
)
@click.option("--prompt", is_flag=True, help="For sshd: a prompt after a key, then the phone.")
@click.option("--key", is_flag=True, help="The same as --prompt.")
@click.option(
    "--password",
    is_flag=True,
    help="For sshd: a prompt after the password, then the phone.",
)
@click.option(
    "--always/--no-always",
    default=None,
    help="For sudo: ask the phone for every command, also under NOPASSWD. --no-always: only after a password.",
)
@click.option("--quiet", is_flag=True, help="Show only problems and remaining steps.")
@click.option("--dry-run", is_flag=True, help="Check, show every change as a diff, and change nothing.")
@click.option(
    "--try",
    "trial_seconds",
    type=Parsed("time", _trial_time),
    help="Undo the setup after this time, unless you confirm it: 90s, 10m, 2h; from 1m to 24h.",
)
@click.option(
    "--force", is_flag=True, help="Go on even if you might be locked out, or a file has been edited."
)
@click.option("--trial-over", metavar="NAME", hidden=True)
@click.option("--watch", is_flag=True, hidden=True)
@click.pass_context
def command(
    ctx: click.Context,
    /,
    services: tuple[str, ...],
    always: bool | None,
    quiet: bool,
    dry_run: bool,
    trial_seconds: int | None,
    force: bool,
    trial_over: str | None,
    watch: bool,
    **ways: bool,
) -> None:
    """Make SERVICES ask the phone after the first factor.

    SERVICES are sshd, sudo, su, or other PAM services, such as polkit-1 (pkexec and run0), doas, login or lightdm. sudo
    includes sudo-rs and `sudo -i`, su includes `su -`. setup refuses services where the phone would be useless or
    harmful.

    setup adds lines to the file of the service in /etc/pam.d. Each ends in the mark `# pam-iampass`. If another line
    has to change, the old line stays as a comment. A file in /usr/lib/pam.d stays unchanged: a new file in /etc/pam.d
    includes it. `undo` removes the lines and keeps all other changes. If a package or a program restores the old file,
    setup adds the lines again.

    sshd can ask in two ways. By default it asks the phone after it has accepted a key, a certificate or a password.
    There is no prompt, so every client can log in. With --prompt (or --key) and --password it first shows a prompt,
    where users can type a recovery code. Clients that answer no prompt can then log in only to exempt accounts. For
    exempt accounts, setup writes Match blocks into a drop-in of sshd_config. If `exempt` or `asked` changes, run setup
    again. Without an option, sshd keeps its current way.

    With --codes, sshd asks as by default. Users without their phone can type a recovery code before their key: `ssh -o
    PreferredAuthentications=keyboard-interactive,publickey HOST`. For this, setup writes a drop-in of sshd_config. If
    sshd accepts passwords, setup refuses --codes: most clients would then ask for a code before each password.

    sudo asks the phone when it asks for a password. With --always, it asks for each command: also under NOPASSWD, while
    sudo remembers the password, and without a terminal. A kept session can still spare the approval (`session.covers`).
    root, `sudo -l` and `sudo -v` need no approval. --no-always goes back to the usual way.

    setup first checks the settings, whether you could still log in, and sshd's settings (sshd -T). It then simulates
    the new PAM files: each way to log in must ask the phone. If a check fails, setup changes nothing. `pam-iampass
    test` tries a real login.

    With --try, setup undoes everything after this time, unless you log in with an approval on the phone and then run
    `confirm`. This works even if the terminal is closed or the machine restarts. A service that was set up before the
    trial returns to its earlier way. --try needs systemd.

    The exit status is 0 on success, 1 on failure, 2 for wrong usage.
    """
    if trial_over is not None:
        _record_end(_setup().end_trial(trial_over))
        return
    if watch:  # by systemd and the package managers, when something is written below /etc/pam.d
        for event in _setup().watch(Journal(), _record_end):
            _line(event.event.value, f"{event.service}: {event.reason}")
        _report_rescues()
        return
    if not services:
        raise click.UsageError("name the services, such as sshd, sudo, su")
    typed = [f"--{way.replace('_', '-')}" for way, wanted in ways.items() if wanted]
    chosen = {_WAYS.get(way, way) for way, wanted in ways.items() if wanted}
    if len(chosen) > 1:
        raise click.UsageError(f"{_and(typed)} exclude each other")
    choice = chosen.pop() if chosen else None
    if choice and "sshd" not in services:
        raise click.UsageError(f"{_and(typed)} {'is' if len(typed) == 1 else 'are'} for sshd")
    if always is not None and "sudo" not in services:
        raise click.UsageError(f"--{'' if always else 'no-'}always is for sudo")
    choices = {"sshd": choice} if choice else {}
    if always is not None:
        choices["sudo"] = ALWAYS if always else ""
    if dry_run and trial_seconds:
        raise click.UsageError("--dry-run and --try exclude each other")
    ctx.exit(_set_up(_setup(quiet), services, choices, quiet, dry_run, trial_seconds, force))


@command.command(short_help="Restore the files of SERVICES, or of all.")
@click.argument("services", nargs=-1, metavar="[SERVICES...]", shell_complete=_complete)
@click.option("--removal", metavar="PROFILES", hidden=True)  # by the packages
@click.pass_context
def undo(ctx: click.Context, services: tuple[str, ...], removal: str | None) -> None:
    """Remove the lines of pam-iampass from the files of SERVICES, or of all services, and end their trial.

    undo works without the agent and IAMPASS. Other changes of these files stay. If one of the lines was edited, undo
    keeps a copy of the file in /var/lib/pam-iampass/setup/edited. If a service cannot be restored, undo restores the
    others, and the exit status is 1.
    """
    if set(services) & set(command.commands):
        raise click.UsageError("undo, confirm and status exclude each other", ctx)
    done = _setup().undo(services or None, removal)
    for name in services:
        if name not in done:
            _line("ok", f"{name} was not set up: nothing to undo")
    if done:
        record(Act.SETUP_UNDO, "", _and(done))
        _say(f"{_and(done)} {'no longer asks' if len(done) == 1 else 'no longer ask'} the phone.", "bold")
    elif not services:
        _line("ok", "nothing was set up: nothing to undo")
    if sandbox_use.is_in_use():
        _line("left", "the settings lead to a sandbox: pam-iampass sandbox leave restores them", "yellow")


@command.command(short_help="Keep the setup that is on trial.")
@click.option("--force", is_flag=True, help="Do not require a login.")
def confirm(force: bool) -> None:
    """Keep the setup that is on trial. Log in through each of its services first."""
    kept = _setup().confirm(force=force)
    _line("done", f"{_and(kept.services)}: no longer on trial. To undo it: pam-iampass setup undo")


@command.command(short_help="Show which services are set up.")
@json_option
def status(as_json: bool) -> None:
    """Show which services are set up, what keeps them from asking the phone, which files were changed since, and the
    current trial."""
    services, trial = _setup().status()
    if as_json:
        show_json(_as_object(services, trial))
        return
    for service in services:
        _show_service(service)
    if trial is not None:
        text = f"{_and(trial.services)}: until {moment(trial.deadline)}"
        if trial.deadline < time.time():
            text += ". It is over, but was not undone: pam-iampass setup undo"
        _line("trial", text, "bold yellow")


def _record_end(services: Sequence[str]) -> None:
    """Record that a trial of these services is over, and has been undone."""
    if services:
        record(Act.SETUP_UNDO, "", f"{_and(services)}: the trial is over")


def _report_rescues() -> None:
    """Have the agent report the logins that a door has let in without it. A gateway writes each once."""
    with contextlib.suppress(ImportError, PamIampassError):
        for found in rescues_since(time.time() - _RESCUES_SECONDS, _MOST_RESCUES):
            try:
                control.ask(
                    "rescue report",
                    config=DEFAULT_PATH,
                    login=found.login,
                    at=found.time.timestamp(),
                    user=found.user,
                    service=found.service,
                    remote=found.rhost,
                    reason=found.reason,
                )
            except control.AgentUnavailable:
                return  # the next watch reads them again
            except PamIampassError:
                continue


def _setup(quiet: bool = False) -> Setup:
    """Setup, for root; with `quiet` it tells only what is left to do."""
    if os.geteuid() != 0:
        raise click.ClickException("this reads and changes root's files: run it as root")
    return Setup(_tell_what_is_left if quiet else _tell)


def _set_up(
    setup: Setup,
    services: Sequence[str],
    choices: Mapping[str, str],
    quiet: bool,
    dry_run: bool,
    trial_seconds: int | None,
    force: bool,
) -> int:
    names = list(dict.fromkeys(services))
    proposal = setup.propose(names, choices, force=force)
    changed = bool(proposal.changes)
    for text in (text for change in proposal.changes for text in change.diff if not quiet):
        style = {"+": "green", "-": "red", "@": "cyan"}.get(text[:1], "")
        line((text, "bold" if text.startswith(("+++", "---")) else style))
    if changed or dry_run:
        findings = setup.check(proposal, admin(os.environ))
    else:
        findings = chain.from_iterable(map(setup.unasked, names))
    objection = _check(findings, force, quiet)
    if objection:
        _say(objection, "bold red")
        return 1
    if not changed:
        if not dry_run:
            setup.set_up(proposal, None)  # records what a person has added to our lines
        if not quiet:
            _line("ok", "nothing to change: it is set up already")
        return 0
    if dry_run:
        if not quiet:
            _say("Nothing was changed (--dry-run).", "bold")
        return 0
    trial = setup.set_up(proposal, trial_seconds)
    record(Act.SETUP, "", _and(names) + (", on trial" if trial else ""))
    if trial or not quiet:
        _say(_next_steps(names, trial), "bold")
    return 0


def _check(findings: Iterable[Problem], force: bool, quiet: bool) -> str:
    """Show the findings, with `quiet` only what is wrong; returns why not to go on, or nothing."""
    errors = []
    for finding in findings:
        if quiet and finding.severity in (Severity.OK, Severity.NOTE):
            continue
        _line(finding.severity.value, finding.what)
        if finding.remedy:
            _line("", finding.remedy)
        if finding.is_error and not (finding.forcible and force):
            errors.append(finding)
    if not errors:
        return ""
    if all(finding.forcible for finding in errors):
        return "Nothing was changed. To set it up anyway, use --force, best with --try."
    return "Nothing was changed."


def _next_steps(names: Sequence[str], trial: Trial | None) -> str:
    asks = f"{_and(names)} now {'asks' if len(names) == 1 else 'ask'} the phone"
    if trial is None:
        test = "Keep this terminal open, and log in from another one." if "sshd" in names else "Test it now."
        return f"{asks}. {test} To undo it: pam-iampass setup undo"
    way = how_to_try(names)
    return (
        f"{asks}, on trial until {moment(trial.deadline)}: then it is undone.\n"
        f"{way[0].upper()}{way[1:]}.\nIf that works, keep it with: pam-iampass setup confirm"
    )


def _show_service(service: ServiceStatus) -> None:
    text = service.word
    if service.choice == ALWAYS:
        text += ", for each command"
    elif service.choice:
        text += f", {_CHOICES.get(service.choice, service.choice)} and the phone"
    if service.since is not None:
        text += f", since {moment(service.since)}"
    unasked = any(problem.is_error for problem in service.problems)
    if unasked:
        text += ". Something keeps it from asking"
    _line(service.name, text, "bold red" if unasked else _WORDS[service.word])
    for problem in service.problems:
        _line(problem.severity.value, problem.what)
        _line("", problem.remedy)
    if service.word in _REMEDIES:
        _line("", _REMEDIES[service.word])
    for path, diff in service.conflicts:
        for each in (f"{path}:", *diff):
            _line("", each)


def _as_object(services: Sequence[ServiceStatus], trial: Trial | None) -> dict[str, object]:
    return {
        "services": {
            service.name: {
                "state": service.word.replace(" ", "_"),
                "first_factor": None if service.choice == ALWAYS else service.choice or None,
                "always": service.choice == ALWAYS,
                "since": _iso(service.since),
                "changed_files": [str(path) for path, _ in service.conflicts],
                "problems": [
                    {"id": found.kind, "severity": found.severity.value, "what": found.what}
                    for found in service.problems
                ],
            }
            for service in services
        },
        "trial": trial
        and {
            "services": list(trial.services),
            "started": _iso(trial.started),
            "until": _iso(trial.deadline),
            "over": trial.deadline < time.time(),
        },
    }


def _iso(unix_time: float | None) -> str | None:
    return None if unix_time is None else timestamp(unix_time)


def _and(names: Sequence[str]) -> str:
    return ", ".join(names[:-1]) + f" and {names[-1]}" if len(names) > 1 else names[0]


def _tell(word: str, what: str) -> None:
    """Report one thing that was done. A terminal that was closed must not stop the rest."""
    with contextlib.suppress(OSError):
        _line(word, what)


def _tell_what_is_left(word: str, what: str) -> None:
    if word in _LEFT:
        _tell(word, what)


def _line(word: str, text: str, style: str = "") -> None:
    line((word.ljust(9), "" if style else _STYLES.get(word, "")), " ", (text, style))


def _say(text: str, style: str = "") -> None:
    for each in text.split("\n"):
        line((each, style))
