"""Hosts: what can be done to one, and what is shown of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Annotated, Any, TypedDict

from pam_iampass.config.value_types import InvalidValue, line_error, name_error, network
from pam_iampass.fleet.act import ADMIN, Declared, Field, OfHost, act, flag, number, seconds, text, texts
from pam_iampass.fleet.names import host_address_error, host_name_error
from pam_iampass.fleet.results import Ended, HostState, Result, number_of
from pam_iampass.fleet.view import ToAdmins, ToAuditors, View

_RECORD = "whether it was so before"
_LONGEST_INVITE = 3650 * 86400.0
MOST_USES = 10_000
"""How many hosts can join with one invite, at most."""


def network_error(text: str) -> str | None:
    """Why this is no network, as the end of a sentence."""
    try:
        network(text)
    except InvalidValue as invalid:
        return f"{invalid.what}: {invalid.remedy}"
    return None


def _admitted(result: Mapping[str, Any]) -> str:
    """Returns the words for the status of a host that was admitted or resumed."""
    return {
        "active": "{host} can send requests to phones",
        "waiting": "{host} waits for admission",
    }.get(result["status"], f"{{host}} is {result['status']}")


@act("host_invite", "invite made for a host", record="how many hosts can join, which ones, and until when")
@dataclass(frozen=True)
class InviteHost(Declared[Result]):
    """Make an invite with which hosts join a group. Anyone who has the invite can join a host, by the name and from the
    network to which it is bound."""

    group: Annotated[str, text(name_error)]
    seconds: Annotated[float, seconds(_LONGEST_INVITE)]
    uses: Annotated[int, number(MOST_USES)] = 1
    name: Annotated[str, text(host_name_error, empty=True)] = ""
    network: Annotated[str, text(network_error, empty=True)] = ""


@act("host_revoke", "invite of a host revoked")
@dataclass(frozen=True)
class RevokeInvite(Declared[Result]):
    """Revoke an invite. Hosts that have joined with it stay."""

    invite: Annotated[str, text(host_name_error)]


@act("host_remove", "host removed")
@dataclass(frozen=True)
class RemoveHost(OfHost[Result]):
    """Remove a host: the gateway rejects its credential, and its sessions end. Its invite is revoked, unless the invite
    is for several hosts of a network and nobody suspects the host."""


@act(
    "host_admit",
    "host admitted",
    by={ADMIN},
    label="Admit this host",
    says="Compare the id with the one that pam-iampass join printed on the host. After admission, {host} can send "
    "requests to the phones of its users.",
    done=_admitted,
    weakens=True,
)
@dataclass(frozen=True)
class AdmitHost(OfHost[HostState]):
    """Admit a host that has joined and waits: it can send requests, and its logins can cover logins on other hosts.
    With the id that was compared, no other host that has joined by the same name meanwhile is admitted."""

    id: Annotated[str, text(host_name_error, empty=True)] = ""


@act(
    "host_resume",
    "host resumed",
    by={ADMIN},
    record=_RECORD,
    label="Resume this host",
    says="The gateway answers {host} again, and people can log in there by phone.",
    done=_admitted,
    weakens=True,
)
@dataclass(frozen=True)
class ResumeHost(OfHost[HostState]):
    """Answer a suspended or stopped host again, and no longer slow it down. If its group requires admission and the
    host was not admitted, it waits."""


@act(
    "host_suspend",
    "host suspended",
    by={ADMIN},
    record=f"{_RECORD}; with `end_logins`, how many logins are to end",
    label="Suspend this host",
    says="No new logins by phone on {host}, until you resume the host. Its requests on phones end within a second. "
    "Its open logins continue, unless you also end them.",
    done=lambda _: "{host} is suspended",
    then=lambda result: (
        "Nobody can log in there by phone. "
        f"{number_of(result['ended'], 'login or request has', 'logins or requests have')} ended."
    ),
    is_harm=True,
)
@dataclass(frozen=True)
class SuspendHost(OfHost[Ended]):
    """Stop answering a host, end its requests on phones and the logins on other hosts that its logins have covered, and
    revoke its invite. With `end_logins`, also end its own open logins, so that they cover no login after
    `host_resume`."""

    end_logins: Annotated[bool, flag, Field("Also end its open logins, because the host was taken over")] = (
        False
    )


@act(
    "host_addresses",
    "addresses set",
    by={ADMIN},
    record="the addresses",
    label="Set the addresses",
    says="If another host claims a connection to one of these addresses, the login needs the phone, and there is an "
    "alert. Leave out addresses that several hosts share.",
    done=lambda _: "The addresses of {host} are set",
)
@dataclass(frozen=True)
class SetHostAddresses(OfHost[Result]):
    """Replace the addresses of a host, which no other host has. A connection to one of them covers no login on another
    host."""

    addresses: Annotated[
        tuple[str, ...],
        texts(host_address_error),
        Field("All addresses of the host", "such as 192.0.2.8, 2001:db8::8", required=True),
    ] = ()


@act(
    "host_note",
    "note changed",
    by={ADMIN},
    record="the note; empty if it was removed",
    label="Write a note",
    says="Administrators and auditors read the note beside the name of {host}. The new note replaces the earlier one.",
    done=lambda _: "The note on {host} is changed",
)
@dataclass(frozen=True)
class SetHostNote(OfHost[Result]):
    """Replace the note on a host; an empty note removes it. Administrators and auditors read it, the host does not."""

    note: Annotated[
        str, text(line_error, empty=True), Field("Note", "one line; leave it empty to remove the note")
    ] = ""


# Views


class HostRow(TypedDict, total=False):
    """A host."""

    name: ToAuditors[str]
    id: ToAuditors[str]
    group: ToAuditors[str]
    status: ToAuditors[str]
    admitted: ToAuditors[bool]
    addresses: ToAuditors[list[str]]
    note: ToAuditors[str | None]
    machine: ToAuditors[str | None]
    joined: ToAuditors[datetime]
    invite: ToAdmins[str]
    slowed_until: ToAuditors[datetime | None]
    seen: ToAuditors[datetime | None]
    seen_within_a_day: ToAuditors[bool]
    version: ToAuditors[str | None]
    address: ToAuditors[str | None]
    open_logins: ToAdmins[int]


HOSTS = View("hosts", HostRow)
