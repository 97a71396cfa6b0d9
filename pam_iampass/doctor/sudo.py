"""The problems of sudo: its PAM services, and the lines of sudoers that lead around the phone."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

from pam_iampass.doctor.catalogue import finding
from pam_iampass.doctor.stacks import Stacks
from pam_iampass.errors import Problem
from pam_iampass.system.sudoers import NO_PASSWORD, PAM_SERVICES, Sudoers, SudoersLine
from pam_iampass.text import names


def loophole(line: SudoersLine, asks: Callable[[str], bool]) -> str | None:
    """The kind of finding about a line of sudoers, if it keeps sudo from asking the phone of its caller.

    `asks` says whether a PAM service asks the phone.
    """
    name, value = line.name, line.value
    if name == NO_PASSWORD:
        return "sudo-no-password"
    if (name == "authenticate" and value is False) or (name == "exempt_group" and value):
        return "sudo-rule-bypasses"
    if name in PAM_SERVICES and not asks(str(value)):
        return "sudo-other-service"
    if name in ("rootpw", "targetpw", "runaspw") and value:
        return "sudo-asks-another"
    if name == "timestamp_timeout" and str(value).startswith("-"):
        return "sudo-never-asks-again"
    return None


def loopholes(
    sudoers: Sudoers,
    asks: Callable[[str], bool],
    without_phone: Callable[[Iterable[str]], frozenset[str]],
    named: str | None = None,
) -> Iterator[Problem]:
    """The lines that keep sudo from asking, but for those that name only users who need no phone anyway.

    `without_phone` says who of some users that is. With `named`, those that may be about this user. Of lines that set
    the same for the same users or targets, the last one holds; otherwise it is not decided which one does.
    """
    last = {
        (line.name, line.scope, line.members, line.value if line.name == NO_PASSWORD else None): line
        for line in sudoers.lines
    }
    for line in last.values():
        kind = loophole(line, asks)
        if kind is None:
            continue
        accounts, whom = line.accounts, ", ".join(map(str, line.users)) or "everybody"
        if accounts is not None:
            asked = accounts - without_phone(accounts)
            if not asked or (named is not None and named not in asked):
                continue
            whom = names(sorted(asked))
        yield finding(kind, "sudo", line.place or f"cvtsudoers: {line}", rule=line, names=whom)


@dataclass(frozen=True)
class SudoCheck:
    """sudoers, and the stacks that sudo uses."""

    sudoers: Sudoers
    stacks: Stacks
    without_phone: Callable[[Iterable[str]], frozenset[str]]
    """Of some users, those who need no phone according to the settings and the user table."""
    named: str | None = None
    """The user that the command line names."""

    def findings(self) -> Iterator[Problem]:
        """Everything that is wrong."""
        service, login = self.sudoers.service, self.sudoers.login_service
        asks = self.stacks.asks(service)
        if not asks and not self.stacks.asks("sudo"):
            where = f"{self.stacks.files.path(service)} does not name pam_iampass"
            yield finding("sudo-unprotected", "sudo", where)
            return
        yield from loopholes(self.sudoers, self.stacks.asks, self.without_phone, self.named)
        if asks and self.sudoers.text("pam_login_service") is None and not self.stacks.asks(login):
            yield finding(
                "sibling-unprotected",
                "sudo",
                f"PAM service {service} names pam_iampass, {login} does not",
                asking="sudo",
                other="sudo -i",
                remedy="pam-iampass setup sudo",
            )
        if self.sudoers.text("secure_path") is None:
            yield finding("sudo-no-secure-path", "sudo", "cvtsudoers: no secure_path")
