"""Why a person could not log in: the causes, in sentences that contain no text of a host, and what mends each."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import TypedDict

from pam_iampass.fleet.view import ToAll, ToStaff, View


@dataclass(frozen=True)
class Cause:
    """A cause of a denial."""

    says: str
    mend: str
    """The remedy while the cause keeps the person out."""
    act: str = ""
    """The act that mends it, by its name."""
    command: str = ""
    """The command of root of a gateway, after `pam-iampass-gateway`, with `{person}` and `{host}`."""


_ASK_FIRST = "First ask the person whether these logins were theirs. If so, wait, or clear the limits."
_AGAIN = "The person logs in again."
CAUSES: Mapping[str, Cause] = {
    # Of a person
    "UNKNOWN_USER": Cause(
        "The person has left the directory, or is being removed.",
        "If this is wrong, correct it in the directory.",
        command="user show {person}",
    ),
    "PHONE_LOST": Cause(
        "The phone was reported lost, and IAMPASS has not disabled it yet.",
        "The gateway tells IAMPASS again each minute. Then register the next phone.",
        "phone_new",
        "enroll {person}",
    ),
    "NO_MOBILE_DEVICE": Cause(
        "IAMPASS had no phone of the person.",
        "Verify the person. Then register a phone.",
        "phone_new",
        "enroll {person}",
    ),
    "BACKOFF": Cause(
        "Requests from the same place were not approved, so that the next one has to wait.",
        _ASK_FIRST,
        "throttle_clear",
        "throttle clear {person}",
    ),
    "HOURLY_LIMIT": Cause(
        "Too many requests within an hour were not approved.",
        _ASK_FIRST,
        "throttle_clear",
        "throttle clear {person}",
    ),
    "AT_CAPACITY": Cause(
        "Too many logins of the person wait for their turn.",
        "First ask the person whether these logins are theirs. If not, somebody may have their password.",
        "session_end",
        "session end {person}",
    ),
    "NO_TURN": Cause("Other logins of the person came first, and no time was left.", _AGAIN),
    "HOST_THROTTLED": Cause("Too many requests were made.", _AGAIN),
    # Of a host
    "NOT_ON_THIS_HOST": Cause(
        "No group of the person is admitted to the host.",
        "Root of a gateway gives the person another group, or changes the groups in gateway.yaml.",
        command="user show {person}",
    ),
    "HOST_SUSPENDED": Cause(
        "The host is suspended.",
        "An administrator allows the host again.",
        "host_resume",
        "host resume {host}",
    ),
    "HOST_STOPPED": Cause(
        "The host is stopped, because several people denied its requests.",
        "An administrator finds out why, and allows the host again.",
        "host_resume",
        "host resume {host}",
    ),
    "HOST_NOT_ADMITTED": Cause(
        "The host waits for admission.",
        "An administrator admits the host.",
        "host_admit",
        "host admit {host}",
    ),
    "HOST_REMOVED": Cause(
        "The host has left the gateway.",
        "Root of the host joins again.",
        command="host invite --name {host}",
    ),
    "HOST_SLOWED": Cause(
        "The host is slowed down, because several people denied its requests.",
        "Wait. An administrator finds out why, and may allow the host again.",
        "host_resume",
        "host resume {host}",
    ),
    "HOST_LIMIT": Cause(
        "Too many requests of the host were not approved within an hour.",
        "An administrator looks at the log of the host.",
        command="log --host {host}",
    ),
    "WRONG_MACHINE": Cause(
        "Another machine has the key of the host.",
        "Root of the host joins with an invite of its own.",
        command="host invite --name {host}",
    ),
    "CLOCK_OFF": Cause(
        "The clock of the host differed from the gateway's.", "Root of the host sets its clock (timedatectl)."
    ),
    # Of the gateway and IAMPASS
    "IAMPASS_AWAY": Cause(
        "The gateway got no answer from IAMPASS.",
        "Wait. Recovery codes and bypasses work in the meantime.",
        "bypass",
        "check",
    ),
    "IAMPASS_REFUSES": Cause(
        "IAMPASS does not know the person, or refused the gateway.",
        "Root of a gateway looks at the findings.",
        command="check",
    ),
    "RESTORED": Cause(
        "The gateway's database was an old copy.", "Root of a gateway looks at it.", command="restored"
    ),
    "TRY_AGAIN": Cause("The gateway does not know whether the phone was asked.", _AGAIN),
    # What the person answered
    "cancelled": Cause(
        "The request was denied on the phone.",
        "Ask the person whether they denied it. If it was not their login, somebody may have their password.",
    ),
    "failed": Cause("The phone did not recognize the person.", _AGAIN),
    "timeout": Cause("Nobody answered on the phone.", "The person logs in again, with the phone at hand."),
    "closed": Cause("The login was ended before anybody answered.", _AGAIN),
    "WRONG_CODE": Cause(
        "The recovery code was wrong, or had been used.",
        "Verify the person. Then make new recovery codes.",
        "recovery_new",
        "recovery new {person}",
    ),
    # What there is no denial of
    "OTHER": Cause("The login was denied.", "The log has the reason.", command="log {person}"),
    "LET_IN_BY_HOST": Cause("The host says that it let the person in without the gateway.", ""),
    "LET_IN": Cause(
        "The gateway denied no login within the last hour, and let the person in.",
        "Look at the account or the host.",
    ),
    "NO_REQUEST": Cause(
        "No request to the person's phone reached the gateway within the last hour.",
        "Look at the key, the password, the account or the host. If a second person must approve, look at that person.",
    ),
}


class DenialRow(TypedDict, total=False):
    """Why a person could not log in, on one host within the last hour or anywhere."""

    cause: ToAll[str]
    says: ToAll[str]
    host: ToAll[str]
    time: ToAll[datetime | None]
    service: ToAll[str]
    remote: ToAll[str]
    until: ToAll[datetime | None]
    is_over: ToAll[bool]
    mend: ToStaff[str]
    act: ToStaff[str]


DENIALS = View("why a person could not log in", DenialRow)
