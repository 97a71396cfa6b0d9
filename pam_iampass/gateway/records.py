"""Records of what a gateway has decided and what its administrators have done.

A record is written in the transaction of what it is about: both happen, or neither.
"""

from __future__ import annotations

import enum

from pam_iampass.audit.administrator import administrator
from pam_iampass.gateway.database import Connection, insert


class Kind(enum.Enum):
    """What a record is about, by the name in the database."""

    DECISION = "decision"
    """A request of a host: how it ended."""
    ACT = "act"
    """What an administrator has done."""
    ALERT = "alert"
    """What an administrator should look at now."""


async def write(
    connection: Connection, kind: Kind, *, host: str | None = None, person: str | None = None, **fields: str
) -> None:
    """Write a record in the transaction of `connection`. No field has a secret, a token or a code.

    :param host: the host's name.
    """
    row = {"kind": kind.value, "host": host, "person": person, "fields": fields}
    await insert(connection, "record", row)


async def act(
    connection: Connection, what: str, *, host: str | None = None, person: str | None = None, reason: str = ""
) -> None:
    """Write what the administrator who runs this command has done, such as `user_add`, and what came of it."""
    by = administrator()
    who = {"by": by.name, "sudo_user": by.sudo_user, "tty": by.tty, "from": by.rhost, "reason": reason}
    given = {name: text for name, text in who.items() if text}
    await write(connection, Kind.ACT, host=host, person=person, what=what, **given)
