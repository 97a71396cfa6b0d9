"""The users who cannot be asked on the phone, who pass without it, and who would be locked out."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from pam_iampass.check.catalogue import finding
from pam_iampass.check.machine import Machine
from pam_iampass.check.user_status import UserState, UserStatus, UserStatusReport, bypasses_in_force
from pam_iampass.config.settings import Settings
from pam_iampass.errors import ConfigurationError, Problem, Severity
from pam_iampass.text import names


def findings(machine: Machine) -> Iterator[Problem]:
    """Everything that is wrong, as far as it is known without IAMPASS."""
    for one in bypasses_in_force():
        if machine.named in (None, one.user):
            reason = f"; {one.reason}" if one.reason else ""
            evidence = f"pam-iampass bypass list: made by {one.made_by}{reason}"
            service = one.service or "all services"
            yield finding("user-bypassed", "users", evidence, name=one.user, service=service)
    report = report_of(machine)
    if report is None:
        return
    yield from _of_report(report) if machine.named is None else _of_one(report)
    # Before any thread is started: this process changes its user for a moment.
    wait = machine.state.waits.get(machine.named or "") if machine.state else None
    if wait is not None:
        evidence = f"pam-iampass throttle show {machine.named}"
        yield finding("user-rests", "users", evidence, names=machine.named, seconds=f"{wait:.0f}")


def report_of(machine: Machine) -> UserStatusReport | None:
    """The status of the users to check; None if it is unknown."""
    try:
        if machine.settings is not None:
            return machine.user_report
        machine.not_checked.append(f"users: {machine.no_settings}")
    except ConfigurationError:
        machine.not_checked.append("users: the table cannot be read")
    return None


def tokens(report: UserStatusReport, settings: Settings, limit: int) -> dict[str, str]:
    """The tokens of the users who are asked on the phone, by user; at most `limit`."""
    found: dict[str, str] = {}
    unlisted = settings.service.unlisted_users
    for status in report.users:
        if status.state is UserState.ASKED and len(found) < limit:
            token = status.token or unlisted.token_for(status.name)
            if token is not None:
                found[status.name] = token
    return found


def _of_report(report: UserStatusReport) -> Iterator[Problem]:
    by_state: dict[UserState, list[str]] = {state: [] for state in UserState}
    for status in report.users:
        by_state[status.state].append(status.name)
    for state, kind in (
        (UserState.NO_ACCOUNT, "entry-never-used"),
        (UserState.DENIED, "users-without-token"),
        (UserState.IGNORED, "users-without-phone-check"),
        (UserState.EXEMPT, "user-exempt"),
    ):
        if by_state[state]:
            whom = names(by_state[state])
            evidence = f"{report.table} and this machine's accounts ({len(by_state[state])} of them)"
            yield finding(kind, "users", evidence, names=whom, name=whom)


def _of_one(report: UserStatusReport) -> Iterator[Problem]:
    for status in report.users:
        name = status.name
        if status.uid is None and status.state is UserState.NO_ACCOUNT:
            yield finding("user-unknown", "users", f"getent passwd {name} finds nothing", name=name)
        elif status.state is UserState.NO_ACCOUNT:
            yield finding("entry-never-used", "users", status.reason, Severity.ERROR, names=name)
        elif status.state is UserState.DENIED:
            where = f"{report.table} and its users.d do not list {name}"
            yield finding("users-without-token", "users", where, Severity.ERROR, names=name)
        elif status.state is UserState.IGNORED:
            where = f"{report.table} does not list {name}; unlisted_users: ignore"
            yield finding("users-without-phone-check", "users", where, names=name)
        elif status.state is UserState.EXEMPT:
            yield finding("user-exempt", "users", status.reason, Severity.WARNING, name=name)


def lockouts(machine: Machine) -> Iterator[Problem]:
    """Users who would be locked out at the next login."""
    if machine.settings is None:
        machine.not_checked.append(f"lock-outs: {machine.no_settings}")
        return
    try:
        statuses = machine.key_users
    except ConfigurationError:
        return
    in_force = machine.sshd if isinstance(machine.sshd, dict) else {}
    services = dict.fromkeys(filter(None, [machine.sshd_service, *machine.sudo_services[:1]]))
    ssh = {one.service for one in in_force.values()}
    asking = [name for name in services if machine.stacks.asks(name, in_sshd=name in ssh)]
    if machine.invoking not in (None, "root") and asking:
        why = _why_denied(machine, statuses.get(str(machine.invoking)))
        if why:
            evidence = f"PAM services that ask the phone: {', '.join(asking)}"
            yield finding("lockout-you", "lockout", evidence, name=machine.invoking, why=why)
    root = in_force.get("root")
    if root is not None and root.root_login == "yes" and machine.stacks.asks(root.service, in_sshd=True):
        status = statuses.get("root")
        others = (UserState.BY_KEY, UserState.BY_OTHERS, UserState.BY_OWNER)
        asks_others = status is not None and status.services.get(root.service) in others
        why = "" if asks_others else _why_denied(machine, status)
        if why:
            evidence = f"sshd -T: permitrootlogin {root.root_login}, pamservicename {root.service}"
            yield finding("lockout-root", "lockout", evidence, why=why)
    yield from _outage(machine, machine.settings, asking)


def _outage(machine: Machine, settings: Settings, asking: Sequence[str]) -> Iterator[Problem]:
    """Whether anybody can log in while IAMPASS is unreachable."""
    exempt, asked = settings.service.exempt, settings.service.asked
    way_in = (
        exempt.users
        or exempt.groups
        or asked.users
        or asked.groups
        or settings.service.unavailable.value != "deny"
    )
    if way_in or machine.state is None or any(machine.state.codes.values()):
        return
    console = machine.stacks.asks(
        "login"
    )  # where only a display manager asks, the text consoles are a way in
    services = ["login"] if console else asking
    if services:
        evidence = f"{', '.join(services)} ask the phone; unavailable: deny; no exempt users"
        yield finding("lockout-no-way-back", "lockout", evidence, Severity.WARNING if console else None)


def _why_denied(machine: Machine, status: UserStatus | None) -> str:
    """Why the user would be denied; empty if nothing is known against it."""
    if status is None:
        return ""
    if status.state is UserState.DENIED:
        return "no token"
    if status.state is UserState.BROKEN:
        return status.reason
    if status.name in machine.not_here:
        return "the gateway says that this name may not log in here"
    codes = machine.state.codes.get(status.name) if machine.state else None
    return "no phone" if machine.has_device.get(status.name) is False and not codes else ""
