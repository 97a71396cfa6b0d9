"""The acts and views of a fleet. Each is declared here, and only here."""

from typing import Any

from pam_iampass.fleet import denials, hosts, passkeys, people, phones, records, sessions
from pam_iampass.fleet.act import DECLARED
from pam_iampass.fleet.view import View

VIEWS: tuple[View[Any], ...] = (
    people.PEOPLE,
    hosts.HOSTS,
    sessions.SESSIONS,
    people.LIMITS,
    records.RECORDS,
    passkeys.OWN,
    people.MAY,
    people.ACCESS,
    denials.DENIALS,
    phones.PHONE,
    people.BYPASSES,
    records.HOURS,
    records.ATTENTION,
    sessions.RINGS,
)
__all__ = ["DECLARED", "VIEWS"]
