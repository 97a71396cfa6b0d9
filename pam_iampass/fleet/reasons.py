"""Why a request has ended so, or was not sent, in words."""

from __future__ import annotations

from collections.abc import Mapping

REASONS: Mapping[str, str] = {
    "active": "",
    "cancelled": "the person has refused",
    "closed": "",
    "failed": "the phone did not recognize the person",
    "timeout": "",
    "walkaway": "the phone has gone away",
    "AT_CAPACITY": "too many logins of this person wait",
    "BYPASSED": "",
    "CLOCK_OFF": "the clock of the host differs from the gateway's",
    "CODES_NOT_HERE": "recovery codes do not count on this host",
    "DATABASE_AWAY": "the gateway's database does not answer",
    "HOST_NOT_ADMITTED": "the host waits to be admitted",
    "HOST_SUSPENDED": "the host is suspended",
    "HOST_THROTTLED": "too many requests came from there",
    "IAMPASS_AWAY": "IAMPASS does not answer",
    "IAMPASS_REFUSES": "IAMPASS does not know the person, or refuses the gateway's requests",
    "NOT_ON_THIS_HOST": "no group of this person may log in there",
    "NO_MOBILE_DEVICE": "there is no phone",
    "NO_TURN": "other logins came first, and no time was left",
    "PHONE_LOST": "the phone was reported lost",
    "PHONE_LOST_MEANWHILE": "the phone was reported lost after it was asked",
    "REQUEST_ID_REUSED": "the host has used the id of another request",
    "RESTORED": "the gateway's database is an old copy",
    "TOO_MANY_CODES": "too many wrong recovery codes",
    "TRY_AGAIN": "it is not known whether the phone was asked",
    "UNKNOWN_USER": "nobody has this name",
    "WRONG_CODE": "the person has no such code, or has used it",
    "WRONG_MACHINE": "another machine uses the key of this host",
}
"""What is said of a status or a reason of the gateway; nothing if the outcome says as much."""
