"""Why a request has ended so, or was not sent, in words."""

from __future__ import annotations

from collections.abc import Mapping

REASONS: Mapping[str, str] = {
    "active": "",
    "cancelled": "the person denied the request",
    "closed": "",
    "failed": "the phone did not recognize the person",
    "timeout": "",
    "walkaway": "the phone is no longer near",
    "AT_CAPACITY": "too many logins of this person are waiting",
    "BYPASSED": "",
    "CLOCK_OFF": "the clock of the host differs from the gateway's",
    "CODES_NOT_HERE": "this host accepts no recovery codes",
    "DATABASE_AWAY": "the gateway's database does not answer",
    "HOST_NOT_ADMITTED": "the host waits for admission",
    "HOST_SUSPENDED": "the host is suspended",
    "HOST_THROTTLED": "the host made too many requests",
    "IAMPASS_AWAY": "IAMPASS does not answer",
    "IAMPASS_REFUSES": "IAMPASS does not know the person, or refuses the gateway's requests",
    "NOT_ON_THIS_HOST": "no group of this person has permission for this host",
    "NO_MOBILE_DEVICE": "no phone is registered",
    "NO_TURN": "other logins came first, and the time ran out",
    "PHONE_LOST": "the phone was reported lost",
    "OWNER_FIRST": "a login of the person came first, for whom this account acts",
    "PHONE_LOST_MEANWHILE": "the phone was reported lost during the request",
    "REQUEST_ID_REUSED": "the host used the id of another request",
    "RESTORED": "the gateway's database is an old copy",
    "TOO_MANY_CODES": "too many wrong recovery codes",
    "TRY_AGAIN": "the gateway does not know whether the phone got the request",
    "UNKNOWN_USER": "nobody has this name",
    "WRONG_CODE": "the code is wrong, or was used before",
    "WRONG_MACHINE": "another machine uses the credential of this host",
}
"""The words for a status or a reason of the gateway; without an entry, the outcome says enough."""
