"""The `Match` blocks by which sshd spares exempt accounts the prompt (sshd_config(5)).

They let nobody in: sshd runs the account phase for every login, where the module asks the phone of users who are not
exempt. sshd and the module may disagree: for example, a group that two name services know has two ids.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

from pam_iampass.config.settings import AskedSettings, ServiceSettings
from pam_iampass.config.value_types import Approver

_PLAIN = re.compile(r"(?:[\w.@+$-]|\\(?=\w))(?:[\w.@+$ -]|\\(?=\w))*")
"""The texts that sshd takes literally, if need be in quotes: no pattern, no list, no comment, no escape."""
_ALL = "all"

HEADING = """\
# Accounts that `exempt` and `asked` in the settings spare the phone log in with their first factor alone, without a
# prompt. The module checks each of these logins again and asks the phone of users who are not exempt.
# After a change of these settings: pam-iampass setup sshd
"""


@dataclass(frozen=True)
class SshdExceptions:
    """The logins that need no prompt, in sshd's words."""

    criteria: tuple[str, ...] = ()
    """The texts after the word `Match`, for one block each."""
    left_out: tuple[str, ...] = ()
    """Names that sshd_config cannot contain: those users have to answer the prompt."""

    def blocks(self, methods: str) -> str:
        """The lines for sshd_config, with a value for AuthenticationMethods; empty if there are no exceptions."""
        if not self.criteria:
            return ""
        lines = [f"Match {each}\n    AuthenticationMethods {methods}\n" for each in self.criteria]
        return "\n" + HEADING + "".join(lines) + f"Match {_ALL}\n"


def exceptions(service: ServiceSettings) -> SshdExceptions:
    """The exceptions for logins through a PAM service with these settings."""
    exempt, asked = service.exempt, service.asked
    criteria = []
    for keyword, names in (("User", exempt.users), ("Group", exempt.groups)):
        plain = sorted(filter(is_plain, names))
        if plain:
            criteria.append(f"{keyword} {_list(plain)}")
    if exempt.networks:
        criteria.append(f"Address {_list(sorted(map(str, exempt.networks)))}")
    criteria += [
        f"{'Group' if rule.is_group else 'User'} {_list([rule.name])} Address {rule.network}"
        for rule in exempt.rules
        if is_plain(rule.name)
    ]
    if service.approver is not Approver.KEY:  # then the person may be asked although the account is not
        criteria += _not_asked(asked)
    names = exempt.users | exempt.groups | asked.users | asked.groups | {rule.name for rule in exempt.rules}
    left_out = sorted(name for name in names if not is_plain(name))
    return SshdExceptions(tuple(criteria), tuple(left_out))


def criteria_in(text: str) -> tuple[str, ...]:
    """The criteria of the blocks in the lines of an sshd_config."""
    lines = (line.strip() for line in text.splitlines())
    found = (line.partition(" ")[2] for line in lines if line.startswith("Match "))
    return tuple(each for each in found if each != _ALL)


def without_blocks(text: str) -> str:
    """The lines of an sshd_config before its first block."""
    return re.split(r"^Match ", text, maxsplit=1, flags=re.M)[0]


def is_plain(name: str) -> bool:
    """Whether sshd_config can contain a name, and sshd takes it literally."""
    return _PLAIN.fullmatch(name) is not None


def _not_asked(asked: AskedSettings) -> list[str]:
    """The criteria for everybody who is not asked; none if everybody is asked, or if a name cannot be written."""
    if not (asked.users or asked.groups) or not all(map(is_plain, asked.users | asked.groups)):
        return []
    words = (("User", asked.users), ("Group", asked.groups))
    return [
        " ".join(
            f"{keyword} {_list([*(f'!{name}' for name in sorted(names)), '*'])}"
            for keyword, names in words
            if names
        )
    ]


def _list(names: Iterable[str]) -> str:
    """A list of patterns, in quotes if a name contains a space."""
    text = ",".join(names)
    return f'"{text}"' if " " in text else text
