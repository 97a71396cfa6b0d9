"""Sessions and requests on phones: they end, are disowned, or show who is calling."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Annotated, Any, Callable, TypedDict

from pam_iampass.fleet.act import ADMIN, HELPDESK, SELF, Declared, OfPerson, act, flag, text
from pam_iampass.fleet.names import host_name_error, id_error, person_name_error
from pam_iampass.fleet.reasons import REASONS
from pam_iampass.fleet.results import Ended, Verified
from pam_iampass.fleet.view import ToHelpers, ToSelf, View


def _ended(result: Mapping[str, Any]) -> str:
    number = result["ended"]
    return (
        f"{number or 'No'} {{it}}{'' if number == 1 else 's'}{{of}} {'has' if number == 1 else 'have'} ended"
    )


def _later(result: Mapping[str, Any]) -> str:
    return "\nIAMPASS has not confirmed the end yet. The gateway tries again." if result["errors"] else ""


def _after_alert(advice: str) -> Callable[[Mapping[str, Any]], str]:
    return lambda result: advice + _later(result)


def _verified(result: Mapping[str, Any]) -> str:
    if result["reason"]:
        why = REASONS.get(result["reason"]) or "the request failed"
        return f"No phone got a request: {why}. You do not know who is calling."
    return {
        "approved": "The person who holds this phone approved the request. For ten minutes, the page of this person "
        "and the records of what you do for them say so.",
        "denied": "The person who holds this phone denied the request.",
    }.get(result["answer"], "Nobody answered on the phone in time. You do not know who is calling.")


def _verdict(result: Mapping[str, Any]) -> tuple[str, str]:
    if result["reason"]:
        return "No request sent. Do nothing for this caller.", "wait"
    return {
        "approved": ("Approved on the phone.", "yes"),
        "denied": ("Denied. Do nothing for this caller.", "no"),
    }.get(result["answer"], ("No answer. Do nothing for this caller.", "wait"))


@act(
    "session_end",
    "logins ended",
    by={SELF, HELPDESK, ADMIN},
    touch={HELPDESK, ADMIN},
    record="whose sessions, and how many there are to end; each leaves a record of its own when it has ended",
    label="End logins",
    says="{logins} at once.",
    own="{logins} at once.",
    done=_ended,
    then=_later,
    is_harm=True,
)
@dataclass(frozen=True)
class EndSessions(Declared[Ended]):
    """End the open sessions of a person, of a host, or one session; with several of these, the sessions that match all.
    People cannot end a request of the help desk to them."""

    person: Annotated[str, text(person_name_error, empty=True)] = ""
    host: Annotated[str, text(host_name_error, empty=True)] = ""
    session: Annotated[str, text(id_error, empty=True)] = ""
    everything: Annotated[bool, flag] = False
    """End all sessions of all hosts; nothing else can be given then."""

    @property
    def target(self) -> str | None:
        return self.person or None


@act(
    "session_not_me",
    "login reported as not theirs",
    by={SELF},
    touch=(),
    record="which session, and how far it had come",
    label="That is not me",
    own="If this is not you, end it here. {logins} at once. The next request from the same place has to wait, and your "
    "administrators get an alert.",
    done=lambda _: "The {it} has ended, and your administrators get an alert",
    then=_after_alert(
        "An attacker may have your SSH key, your password or your passkey. Ask the help desk what to do."
    ),
    is_harm=True,
)
@dataclass(frozen=True)
class DisownSession(OfPerson[Ended]):
    """End a request to the person, or an approved login, that the person says is not theirs. The origin of the login
    has to wait longer, as after a refusal on the phone. The record is an alert. People answer a request of the help
    desk only on the phone."""

    session: Annotated[str, text(id_error)]


@act(
    "session_decline",
    "login of another person not approved",
    by={SELF},
    touch=(),
    record="which session, whose login, and how far it had come",
    label="I do not approve this",
    own="The login is denied or ends at once, and your administrators get an alert. Your own logins continue.",
    done=lambda _: "The {it} has ended, and your administrators get an alert",
    then=_after_alert("Your own logins continue."),
    is_harm=True,
)
@dataclass(frozen=True)
class DeclineSession(OfPerson[Ended]):
    """As the second person, end the request to approve a login of another person, or such an approved login; or that of
    an account that acts for the person. The origin of the login has to wait longer, as after a refusal on the phone.
    The record is an alert. It does not say whose key may be stolen, because root of a host can give a false name of the
    person who logs in."""

    session: Annotated[str, text(id_error)]


@act(
    "phone_verify",
    "caller to be verified",
    by={HELPDESK, ADMIN},
    record="that the phone is asked; the answer is a record of its own",
    label="Ring to verify a caller",
    says="The phone of {person} gets a request, as for a login. Ask the caller to approve the request. This page shows "
    "the answer within two minutes. Do not use this if the phone may be lost, because a thief could approve.",
    waits="The phone of {person} rings. This page shows the answer in two minutes at the latest.",
    then=_verified,
    answer=_verdict,
)
@dataclass(frozen=True)
class VerifyCaller(OfPerson[Verified]):
    """Send a request to the person's phone, to verify a caller. The result is the answer, within two minutes. For ten
    minutes after an approval, the records of acts for this person in the same sign-in say when it was
    (`caller_verified`), unless the phone is reported lost. The approval permits nothing else."""


# Views

ASKS = ("asked", "waits")
"""The states of sessions that are requests, and not over."""


class SessionRow(TypedDict, total=False):
    """A session that is open, or a login that waits for its turn or for an answer."""

    id: ToHelpers[str]
    parent: ToHelpers[str | None]
    user: ToHelpers[str]
    asker: ToHelpers[str | None]
    agent: ToHelpers[str | None]
    host: ToHelpers[str]
    service: ToHelpers[str | None]
    remote: ToHelpers[str | None]
    caller: ToHelpers[str | None]
    purpose: ToHelpers[str | None]
    since: ToHelpers[datetime]
    status: ToHelpers[str]
    seconds_left: ToHelpers[int]
    is_helped: Annotated[bool, HELPDESK, ADMIN]


class RingRow(TypedDict):
    """A request that asks a person, waits for its turn, or is just over."""

    id: ToSelf[str]
    host: ToSelf[str]
    service: ToSelf[str | None]
    remote: ToSelf[str | None]
    caller: ToSelf[str | None]
    command: ToSelf[str | None]
    purpose: ToSelf[str | None]
    since: ToSelf[datetime]
    seconds_left: ToSelf[int]
    status: ToSelf[str]
    user: ToSelf[str]
    agent: ToSelf[str | None]


SESSIONS = View("open sessions", SessionRow)
RINGS = View("what asks for them now", RingRow)
