"""The users: those who cannot be asked on the phone, and those who would be locked out."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from pam_iampass.config.settings import Settings
from pam_iampass.doctor.catalogue import finding
from pam_iampass.doctor.stacks import Stacks
from pam_iampass.doctor.user_status import UserState, UserStatus, UserStatusReport, bypasses_in_force
from pam_iampass.errors import Problem, Severity
from pam_iampass.system.sshd import SshdSettings
from pam_iampass.text import names


@dataclass(frozen=True)
class UsersCheck:
    """The users that are checked; `named` is the one that the command line names."""

    report: UserStatusReport
    settings: Settings
    named: str | None = None

    def tokens(self, limit: int) -> dict[str, str]:
        """The tokens of the users who are asked on the phone, by user; at most `limit`."""
        found: dict[str, str] = {}
        for status in self.report.users:
            template = self.settings.service.unlisted_users
            if status.state is UserState.ASKED and len(found) < limit:
                token = status.entry.token if status.entry else template.token_for(status.name)
                if token is not None:
                    found[status.name] = token
        return found

    def findings(self) -> Iterator[Problem]:
        """Everything that is wrong, as far as it is known without IAMPASS."""
        if self.named is not None:
            for status in self.report.users:
                yield from self._of_one(status)
            return
        by_state: dict[UserState, list[str]] = {state: [] for state in UserState}
        for status in self.report.users:
            by_state[status.state].append(status.name)
        for state, kind in (
            (UserState.NO_ACCOUNT, "entry-never-used"),
            (UserState.DENIED, "users-without-token"),
            (UserState.IGNORED, "users-without-phone-check"),
            (UserState.EXEMPT, "user-exempt"),
        ):
            if by_state[state]:
                whom = names(by_state[state])
                evidence = f"{self.report.table} and this machine's accounts ({len(by_state[state])} of them)"
                yield finding(kind, "users", evidence, names=whom, name=whom)

    def _of_one(self, status: UserStatus) -> Iterator[Problem]:
        name = status.name
        if status.uid is None:
            yield finding("user-unknown", "users", f"getent passwd {name} finds nothing", name=name)
        elif status.state is UserState.NO_ACCOUNT:
            yield finding("entry-never-used", "users", status.reason, Severity.ERROR, names=name)
        elif status.state is UserState.DENIED:
            where = f"{self.report.table} and its users.d do not list {name}"
            yield finding("user-without-token", "users", where, name=name)
        elif status.state is UserState.IGNORED:
            where = f"{self.report.table} does not list {name}; unlisted_users: ignore"
            yield finding("users-without-phone-check", "users", where, names=name)
        elif status.state is UserState.EXEMPT:
            yield finding("user-exempt", "users", status.reason, Severity.WARNING, name=name)


@dataclass(frozen=True)
class LockoutCheck:
    """Users who would be locked out at the next login."""

    statuses: Mapping[str, UserStatus]
    has_device: Mapping[str, bool]
    stacks: Stacks
    settings: Settings
    sshd: Mapping[str, SshdSettings]
    """sshd's settings for some users; empty if they are unknown."""
    invoking: str | None
    """The user who called sudo or su for this command."""
    services: Sequence[str]
    """The PAM services of sshd and sudo."""
    codes: Mapping[str, int] | None
    """The number of recovery codes that users have left; None if it is unknown."""

    def findings(self) -> Iterator[Problem]:
        """Everything that is wrong."""
        ssh = {settings.service for settings in self.sshd.values()}
        asking = [name for name in self.services if self.stacks.asks(name, in_sshd=name in ssh)]
        if self.invoking not in (None, "root") and asking:
            why = self._why(str(self.invoking))
            if why:
                evidence = f"PAM services that ask the phone: {', '.join(asking)}"
                yield finding("lockout-you", "lockout", evidence, name=self.invoking, why=why)
        root = self.sshd.get("root")
        if root is not None and root.root_login == "yes" and self.stacks.asks(root.service, in_sshd=True):
            why = self._why("root")
            if why:
                evidence = f"sshd -T: permitrootlogin {root.root_login}, pamservicename {root.service}"
                yield finding("lockout-root", "lockout", evidence, why=why)
        yield from self._outage(asking)

    def _outage(self, asking: Sequence[str]) -> Iterator[Problem]:
        """Whether anybody can log in while IAMPASS is unreachable."""
        settings = self.settings
        exempt, asked = settings.service.exempt, settings.service.asked
        way_in = (
            exempt.users
            or exempt.groups
            or asked.users
            or asked.groups
            or settings.service.unavailable.value != "deny"
        )
        if way_in or self.codes is None or any(self.codes.values()):
            return
        if self.stacks.asks("login"):  # where only a display manager asks, the text consoles are a way in
            where = self.stacks.with_us["login"].ours.place
            yield finding("lockout-console", "lockout", f"{where}; unavailable: deny; no exempt users")
        elif asking:
            evidence = f"{', '.join(asking)} ask the phone; unavailable: deny; no exempt users"
            yield finding("lockout-no-way-back", "lockout", evidence)

    def _why(self, name: str) -> str:
        """Why the user would be denied; empty if nothing is known against it."""
        status = self.statuses.get(name)
        if status is None:
            return ""
        if status.state is UserState.DENIED:
            return "no token"
        if status.state is UserState.BROKEN:
            return status.reason
        phoneless = self.has_device.get(name) is False and not (self.codes or {}).get(name)
        return "no phone" if phoneless else ""


def bypass_findings(named: str | None = None) -> Iterator[Problem]:
    """All bypasses, or those of the user `named`."""
    for one in bypasses_in_force():
        if named in (None, one.user):
            reason = f"; {one.reason}" if one.reason else ""
            evidence = f"pam-iampass bypass list: made by {one.made_by}{reason}"
            yield finding(
                "user-bypassed", "users", evidence, name=one.user, service=one.service or "all services"
            )
