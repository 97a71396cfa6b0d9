"""The page about acts at a gateway, `docs/reference/acts.md`: what each does, who may do it, what its record says, and
what may be read by whom."""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Mapping
from typing import Any

from pam_iampass.fleet import DECLARED, VIEWS
from pam_iampass.fleet.act import Declared, Role
from pam_iampass.fleet.view import View

_HEAD = """\
<!-- Made by `make pages` from `pam_iampass/fleet/`. -->
# Acts at a gateway

What can be done to a fleet, one act each. What an act changes in the database and its record are one transaction: both
happen, or neither. What follows at IAMPASS, such as the end of sessions, is written down with them and comes after
that: if the command was stopped meanwhile, or IAMPASS did not answer, a gateway goes on with it within a minute, and
again until IAMPASS knows. The record (`pam-iampass-gateway log`) has the act's name, the person or the host whom it
concerns, the actor (`caller`) and what has shown that (`known_by`: `command` for root of a gateway, with the terminal
and where the login came from, `sign-in` for a person who has signed in at the portal).

Root of a gateway may do everything, with `pam-iampass-gateway`. Everybody else signs in at the portal with a passkey.
"Who else may" are the roles that can do it: a person ("the person") for themselves only, the help desk for people whose
groups it helps, all of them, and an admin for everybody else. `operators` in gateway.yaml says which groups have which
role; it counts only with a passkey that was registered with a link of `pam-iampass-gateway operator link`, if the
person had the role when root made the link. For themselves, people with a role act as the person, and do no more: a
bypass of an admin is made by another admin, or by root. A help desk acts for nobody who has a passkey by a link of
root's.

"Touch" says which roles must confirm it by a touch of the passkey of the sign-in, over just this act with just these
parameters, within two minutes. "Phone" says which roles must approve it on the phone, too. Somebody who has never had a
phone need not; somebody who has reported it lost, or whose phone IAMPASS has no longer, cannot do it before the next
one is registered. What is refused is a record (`refused`, with the reason), which names another person in the reason
only; of what is done and refused in one sign-in there are 60 a minute.

[What is no act](#what-is-no-act) says what root of a gateway can change besides.

| act | what it does | parameters | who else may | touch | phone | the record's reason |
| --- | --- | --- | --- | --- | --- | --- |
"""

_NO_ACTS = """
## What is no act

`perform` carries out every act, in one transaction. These verbs of `pam-iampass-gateway` cannot work so, or need no
database. Only root of a gateway can run them. If one is stopped, run it again: until then nobody is let in who should
not be. All other verbs perform acts, or only show something.

| verb | why it is no act |
| --- | --- |
"""
NO_ACTS: Mapping[str, str] = {
    "init, migrate, certificate, portal setup": "They make what acts need: the database, its tables, the key, the "
    "settings and the certificates.",
    "restored": "It accepts a database that is an old copy. Until then the gateways answer nobody.",
    "user add, enroll, user import, user sync": "They add people: IAMPASS is told of the token first, and then the row "
    "is written. Changes of people who are there are acts. If the command is killed between the two, IAMPASS keeps a "
    "token without a phone that nobody has. The next run makes another token.",
    "user sync --accept-missing": "It accepts that rows of people were deleted in the database, after everybody of the "
    "directory was added. Without the option, `user sync` records an alert and adds nobody.",
    "user remove": "The first transaction denies the person's logins. Then IAMPASS deletes the person, and a second "
    "transaction deletes the row. `user sync` removes people so, too, when their time is over.",
    "recovery new --from": "The codes on all sheets of a file count, or none: one transaction for all people.",
    "enroll --mail": "Each mail is recorded before sendmail gets it, so that nobody gets two.",
    "enroll --from": "It records what it has found of people who need no link. It changes nothing.",
    "serve, serve-acts": "The services do what hosts and the portal ask for. `serve` also records that its certificate "
    "is due.",
    "backup": "It writes a file, and changes nothing in the database.",
}
"""Verbs that write without `perform`, each with the reason."""

_VIEWS = """
## What may be read

What a gateway shows of a row to whom: these fields, and no others. A person sees rows of their own: what was asked of
them and done to them, by the name that the gateway has written, never what a host says of the caller. Of their records
they see no alerts, and none from before they were added: names are used again. Help desk sees the rows of the people
whom it helps: all their groups are ones that it helps, and they have one; `is_helped` says whether it does anything for
them, too. Root of a gateway sees what admins see, and the whole records with `pam-iampass-gateway log`. Tokens of
IAMPASS and secrets of hosts are shown to nobody.

| what | to whom | fields |
| --- | --- | --- |
"""


def page() -> str:
    """The page."""
    acts = "".join(_row(name, act) for name, act in sorted(DECLARED.items()))
    no_acts = "".join(f"| {_fields(verbs.split(', '))} | {why} |\n" for verbs, why in NO_ACTS.items())
    return _HEAD + acts + _NO_ACTS + no_acts + _VIEWS + "".join(map(_rows, VIEWS))


def _rows(view: View[Any]) -> str:
    roles = (role for role in Role if role is not Role.ROOT)
    return "".join(f"| {view.of} | {role.value} | {_fields(view.fields.get(role, ()))} |\n" for role in roles)


def _fields(names: Collection[str]) -> str:
    return ", ".join(f"`{name}`" for name in names) or "nothing"


def _row(name: str, act: type[Declared[Any]]) -> str:
    declared = act.declared
    parameters = ", ".join(f"`{each.name}`" for each in dataclasses.fields(act))
    what = " ".join((act.__doc__ or "").split())
    cells = (
        f"`{name}`",
        what,
        parameters,
        _roles(declared.by),
        _roles(declared.touch),
        _roles(declared.phone),
        declared.record or "-",
    )
    return f"| {' | '.join(cells)} |\n"


def _roles(roles: Collection[Role]) -> str:
    return ", ".join(role.value for role in Role if role in roles) or "nobody"
