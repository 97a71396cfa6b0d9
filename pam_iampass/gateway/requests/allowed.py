"""Finds the person for whom a host may ask a phone."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pam_iampass.fleet.names import person_name_error
from pam_iampass.gateway.base import records
from pam_iampass.gateway.base.connection import Connection
from pam_iampass.gateway.base.gateway import Gateway
from pam_iampass.gateway.base.keys import Tampered
from pam_iampass.gateway.base.reasons import Reason
from pam_iampass.gateway.hosts import hosts
from pam_iampass.gateway.hosts.hosts import Asker, Host, HostStatus
from pam_iampass.gateway.people import people
from pam_iampass.gateway.people.people import Person


async def find_allowed_person(
    gateway: Gateway,
    connection: Connection,
    host: Host,
    machine: str | None,
    name: str,
    row: Mapping[str, Any] | None = None,
) -> Person | Reason:
    """The person of this name, who can log in to this host, which may ask; else why not.

    `row` is the person's, with the name None if there is none; it is read here if it is not given.
    """
    if gateway.restored:
        return Reason.RESTORED
    if host.status is not HostStatus.ACTIVE:
        return Reason.HOST_NOT_ADMITTED if host.status is HostStatus.WAITING else Reason.HOST_SUSPENDED
    if not await hosts.is_its_machine(gateway, connection, host, machine):
        return Reason.WRONG_MACHINE
    person = await find_known_person(gateway, connection, host, name, row)
    if isinstance(person, Reason):
        return person
    if not gateway.settings.admits(host.group, person.groups):
        return Reason.NOT_ON_THIS_HOST
    return person


async def find_known_person(
    gateway: Gateway,
    connection: Connection,
    asker: Asker,
    name: str,
    row: Mapping[str, Any] | None = None,
) -> Person | Reason:
    """The person of this name, who can log in somewhere; else why not. `row` as for `find_allowed_person`."""
    if gateway.restored:
        return Reason.RESTORED
    person = None
    if person_name_error(name) is None:
        try:
            if row is None:
                person = await people.find(gateway, connection, name)
            elif row["name"] is not None:
                person = people.from_row(gateway, row, name=name)
        except Tampered as error:
            await records.alert(connection, asker.name, str(error), person=name)
    return person if person is not None and person.active else Reason.UNKNOWN_USER
