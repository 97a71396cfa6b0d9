"""People: what is written of them, what lets one in without the phone, their limits, and what is shown of them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Annotated, Any, TypedDict

from pam_iampass.config.value_types import LONGEST_BYPASS, line_error, name_error
from pam_iampass.fleet.act import (
    ADMIN,
    HELPDESK,
    SELF,
    Field,
    OfPerson,
    act,
    flag,
    seconds,
    text,
    texts,
    time,
)
from pam_iampass.fleet.names import host_name_error
from pam_iampass.fleet.phones import display_name_error, number_error
from pam_iampass.fleet.results import Codes, Number, Result, Until, number_of
from pam_iampass.fleet.view import ToAll, ToAuditors, ToHelpers, ToStaff, View

_TIMES = {"900": "15 minutes", "3600": "1 hour", "14400": "4 hours", "28800": "8 hours", "86400": "1 day"}

_MOST_GROUPS = 10_000


@dataclass(frozen=True)
class OfReadPerson(OfPerson[Result]):
    """An act that concerns a person as the administrator, or the directory, has found them."""

    changed_at: Annotated[datetime | None, time]
    """When the person that was read was last changed: one who was changed since is left alone."""


@dataclass(frozen=True)
class _Described(OfReadPerson):
    groups: Annotated[tuple[str, ...], texts(name_error, _MOST_GROUPS)]
    display_name: Annotated[str, text(display_name_error, empty=True)]
    phone_number: Annotated[str, text(number_error, empty=True)]


@act("user_change", "person changed", record="what has changed; of groups, from which to which")
@dataclass(frozen=True)
class ChangePerson(_Described):
    """Replace the groups, the name for the app and the phone number of a person, unless the person was changed since
    `changed_at`. Only `user sync` changes people of the directory (`by_directory`), and it changes nobody
    else."""

    by_directory: Annotated[bool, flag] = False


@act("user_leave", "has left the directory", record="how many sessions there are to end")
@dataclass(frozen=True)
class LeavePerson(OfReadPerson):
    """Deny the logins of a person whom the directory has no longer, and end their sessions. Results in the sessions."""


@act("user_return", "is in the directory again")
@dataclass(frozen=True)
class ReturnPerson(_Described):
    """Let a person log in again who had left the directory, with the same phone."""


@act(
    "bypass",
    "logins without the phone allowed",
    by={HELPDESK, ADMIN},
    record="until when, through which services, on which hosts, and why",
    label="Allow logins without the phone",
    says="{person} can log in without the phone for this time. The password or the key is still required. The reason "
    "is in the record.",
    done=lambda _: "{person} can log in without the phone until {until} {where}",
    then=lambda _: (
        "The password or the key is still required. To end this earlier, use «Require the phone again» on the page of "
        "{person}."
    ),
    weakens=True,
)
@dataclass(frozen=True)
class BypassPhone(OfPerson[Until]):
    """Let the person in without the phone for a while."""

    seconds: Annotated[float, seconds(LONGEST_BYPASS), Field("For how long", choices=_TIMES)]
    services: Annotated[
        tuple[str, ...],
        texts(name_error),
        Field("Only through these services", "all, unless you name some, such as sshd, sudo"),
    ] = ()
    hosts: Annotated[
        tuple[str, ...],
        texts(host_name_error),
        Field("Only on these hosts", "all, unless you name some, such as web1, web2"),
    ] = ()
    groups: Annotated[
        tuple[str, ...],
        texts(name_error),
        Field("Only on hosts of these groups", "all, unless you name some, such as web, db"),
    ] = ()
    reason: Annotated[
        str,
        text(line_error, empty=True),
        Field("Reason, such as the number of the ticket", required=True),
    ] = ""


@act(
    "bypass_end",
    "phone required again",
    by={HELPDESK, ADMIN},
    record="whether there were none",
    label="Require the phone again",
    says="{person} needs the phone again for the next login.",
    done=lambda result: (
        "{person} needs the phone again" if result["number"] else "{person} already needed the phone"
    ),
)
@dataclass(frozen=True)
class EndBypasses(OfPerson[Number]):
    """End all bypasses of the person. Results in how many there were."""


@act(
    "recovery_new",
    "new recovery codes",
    by={SELF, HELPDESK, ADMIN},
    phone={SELF},
    news="recovery codes",
    purpose="new recovery codes",
    label="Make new recovery codes",
    says="{person} gets ten new recovery codes, and the old codes are revoked. You see the new codes only once. Print "
    "them, and give them to {person} on paper.",
    own="You get ten new recovery codes, and your old codes are revoked. First approve on your phone. You see the new "
    "codes only once, so print them.",
    done=lambda result: f"{number_of(len(result['codes']), 'new recovery code', 'new recovery codes')} for {{person}}",
    then=lambda _: "The codes are shown only now.",
    weakens=True,
)
@dataclass(frozen=True)
class NewCodes(OfPerson[Codes]):
    """Replace all recovery codes of the person. Results in the new ones, which are shown once."""


@act(
    "recovery_revoke",
    "recovery codes revoked",
    by={SELF, HELPDESK, ADMIN},
    record="whether there were none",
    label="Revoke the recovery codes",
    says="{person} can no longer use any recovery code.",
    own="You can no longer use any recovery code.",
    done=lambda result: (
        "All recovery codes of {person} are revoked" if result["number"] else "{Who} had no recovery codes"
    ),
)
@dataclass(frozen=True)
class RevokeCodes(OfPerson[Number]):
    """Revoke all recovery codes of the person. Results in whether there were any."""


@act(
    "throttle_clear",
    "limits cleared",
    by={HELPDESK, ADMIN},
    label="Clear the limits",
    says="First ask {person} whether the denied requests were theirs. If so, clear the limits: the next login rings at "
    "once, and wrong recovery codes no longer block.",
    done=lambda _: "The limits of {person} are cleared",
    then=lambda _: "The next login sends a request to the phone at once.",
    weakens=True,
)
@dataclass(frozen=True)
class ClearLimits(OfPerson[Result]):
    """Forget what the limits have counted for the person, and wrong recovery codes: a request can be sent at once, for
    a login from any address. People cannot do it for themselves, because an attacker with a stolen laptop could."""


# Views


class PersonRow(TypedDict, total=False):
    """A person."""

    user: ToAll[str]
    groups: ToAll[list[str]]
    display_name: ToHelpers[str | None]
    phone_number: Annotated[str | None, SELF, ADMIN]
    source: ToStaff[str]
    status: ToAll[str]
    changed_at: ToStaff[datetime | None]
    is_helped: Annotated[bool, HELPDESK, ADMIN]
    caller_verified: Annotated[datetime | None, HELPDESK, ADMIN]


class LimitsRow(TypedDict, total=False):
    """Numbers that count against the limits of a person."""

    user: ToHelpers[str]
    pending: ToHelpers[int]
    waiting: ToHelpers[int]
    requests_in_the_last_hour: ToHelpers[int]
    requests_per_hour: ToHelpers[int]
    seconds_until_next_request: ToHelpers[float]
    places: ToHelpers[list[dict[str, float]]]
    wrong_codes_in_the_last_hour: ToHelpers[int]
    agents: ToHelpers[dict[str, float]]
    """The budget of the accounts that act for the person: `requests_in_the_last_hour`, `requests_per_hour` and
    `seconds_until_next_request`."""


class MayRow(TypedDict, total=False):
    """Whether a person may log in to the hosts of a group."""

    group: ToAll[str]
    may: ToAll[bool]
    why: ToAll[list[str]]
    codes: ToAll[bool]


class AccessRow(TypedDict):
    """A person, and the sets of hosts to which the settings admit them, each of one group and status."""

    user: ToAuditors[str]
    groups: ToAuditors[list[str]]
    status: ToAuditors[str]
    hosts: ToAuditors[list[dict[str, Any]]]
    why: ToAuditors[list[str]]


ACCESS_COLUMNS = ("user", "status", "groups", "host_group", "host_status", "hosts", "may", "why")
ACCESS_NOT_INCLUDED = (
    "Accounts that a host lets in by its own settings are not in this list, such as exempt accounts and local accounts"
    " that it does not ask. See iampass.yaml on each host."
)


def access_cells(row: AccessRow) -> Iterator[Sequence[str]]:
    """The lines of a person in a table with ACCESS_COLUMNS: one for each set of hosts, or a single one."""
    own = row["user"], row["status"], ", ".join(row["groups"])
    for to in row["hosts"]:
        may = "yes" if to["may"] else "no"
        yield *own, to["group"], to["status"], str(to["number"]), may, "; ".join(to["why"])
    if not row["hosts"]:
        yield *own, "", "", "0", "no", "; ".join(row["why"])


class BypassRow(TypedDict, total=False):
    """A bypass lets a person in without the phone; without services, hosts and groups, everywhere."""

    user: ToAll[str]
    services: ToAll[list[str]]
    hosts: ToAll[list[str]]
    groups: ToAll[list[str]]
    made_at: ToAll[datetime]
    ends_at: ToAll[datetime]
    made_by: ToAll[str]
    reason: ToAll[str]


PEOPLE = View("people", PersonRow)
LIMITS = View("limits", LimitsRow)
MAY = View("where a person may log in", MayRow)
ACCESS = View("who may log in where", AccessRow)
BYPASSES = View("bypasses", BypassRow)
