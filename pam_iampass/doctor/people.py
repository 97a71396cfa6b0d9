"""The users: who can be asked, who cannot, and who would be locked out."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from pam_iampass.config.settings import Settings
from pam_iampass.doctor.catalogue import KINDS
from pam_iampass.doctor.finding import Finding, Severity, names
from pam_iampass.doctor.sshd_settings import ForUser
from pam_iampass.doctor.stacks import Stacks
from pam_iampass.doctor.user_status import Report, Standing, State

_CONSOLES = ("login", "gdm-password", "lightdm", "sddm")


@dataclass(frozen=True)
class PeopleExamination:
    """Everybody who is looked at; `asked` is the one whom the command was asked about."""

    report: Report
    settings: Settings
    asked: str | None = None

    def tokens(self, most: int) -> dict[str, str]:
        """The tokens of those whose phone would be asked, by user; of at most so many."""
        found: dict[str, str] = {}
        for standing in self.report.standings:
            template = self.settings.service.unlisted_users
            if standing.state is State.ASKED and len(found) < most:
                token = standing.entry.token if standing.entry else template.token_for(standing.name)
                if token is not None:
                    found[standing.name] = token
        return found

    def findings(self) -> Iterator[Finding]:
        """What can be told without asking IAMPASS."""
        if self.asked is not None:
            for standing in self.report.standings:
                yield from self._of_one(standing)
            return
        by_state: dict[State, list[str]] = {state: [] for state in State}
        for standing in self.report.standings:
            by_state[standing.state].append(standing.name)
        for state, kind in (
            (State.NO_ACCOUNT, "entry-never-used"),
            (State.DENIED, "users-without-token"),
            (State.IGNORED, "users-without-phone-check"),
            (State.EXEMPT, "user-exempt"),
        ):
            if by_state[state]:
                whom = names(by_state[state])
                evidence = f"{self.report.users} and this machine's accounts ({len(by_state[state])} of them)"
                yield Finding.of(KINDS[kind], "users", evidence, names=whom, name=whom)

    def _of_one(self, standing: Standing) -> Iterator[Finding]:
        name = standing.name
        if standing.uid is None:
            yield Finding.of(KINDS["user-unknown"], "users", f"getent passwd {name}: nothing", name=name)
        elif standing.state is State.NO_ACCOUNT:
            yield Finding.of(KINDS["entry-never-used"], "users", standing.reason, Severity.ERROR, names=name)
        elif standing.state is State.DENIED:
            where = f"{self.report.users} and its users.d do not name {name}"
            yield Finding.of(KINDS["user-without-token"], "users", where, name=name)
        elif standing.state is State.IGNORED:
            where = f"{self.report.users} does not name {name}; unlisted_users: ignore"
            yield Finding.of(KINDS["users-without-phone-check"], "users", where, names=name)
        elif standing.state is State.EXEMPT:
            yield Finding.of(KINDS["user-exempt"], "users", standing.reason, name=name)


@dataclass(frozen=True)
class LockoutExamination:
    """Whether somebody would be locked out at the next login."""

    standings: Mapping[str, Standing]
    has_device: Mapping[str, bool]
    stacks: Stacks
    settings: Settings
    sshd: Mapping[str, ForUser]
    """sshd's settings for some users; empty where it is not there or cannot be asked."""
    invoking: str | None
    """Who called sudo or su for this command."""
    services: Sequence[str]
    """The services that this user would come through: sshd's and sudo's."""
    codes: Mapping[str, int] | None
    """How many recovery codes users have left; None where that cannot be told."""

    def findings(self) -> Iterator[Finding]:
        """Whoever would be locked out."""
        asking = [name for name in self.services if self.stacks.asks(name)]
        if self.invoking not in (None, "root") and asking:
            why = self._why(str(self.invoking))
            if why:
                evidence = f"PAM services that ask the phone: {', '.join(asking)}"
                yield Finding.of(KINDS["lockout-you"], "lockout", evidence, name=self.invoking, why=why)
        root = self.sshd.get("root")
        if root is not None and root.root == "yes" and self.stacks.asks(root.service):
            why = self._why("root")
            if why:
                evidence = f"sshd -T: permitrootlogin {root.root}, pamservicename {root.service}"
                yield Finding.of(KINDS["lockout-root"], "lockout", evidence, why=why)
        yield from self._outage(asking)

    def _outage(self, asking: Sequence[str]) -> Iterator[Finding]:
        """Whether anybody gets in while IAMPASS is out of reach."""
        settings = self.settings
        way_in = (
            settings.exempt.users or settings.exempt.groups or settings.service.unavailable.value != "deny"
        )
        if way_in or self.codes is None or any(self.codes.values()):
            return
        consoles = [name for name in _CONSOLES if self.stacks.asks(name)]
        if consoles:
            where = self.stacks.with_us[consoles[0]].ours.place
            yield Finding.of(
                KINDS["lockout-console"], "lockout", f"{where}; unavailable: deny; exempt: nobody"
            )
        elif asking:
            evidence = f"{', '.join(asking)} ask the phone; unavailable: deny; exempt: nobody"
            yield Finding.of(KINDS["lockout-no-way-back"], "lockout", evidence)

    def _why(self, name: str) -> str:
        """Why the user would not get in; empty where nothing speaks against it."""
        standing = self.standings.get(name)
        if standing is None:
            return ""
        if standing.state is State.DENIED:
            return "no token"
        if standing.state is State.BROKEN:
            return standing.reason
        phoneless = self.has_device.get(name) is False and not (self.codes or {}).get(name)
        return "no phone" if phoneless else ""
