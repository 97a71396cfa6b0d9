"""The page about acts at a gateway, `docs/reference/acts.md`: what each does, who may do it, what its record says, and
what may be read by whom."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

from pam_iampass.fleet import DECLARED, VIEWS
from pam_iampass.fleet.act import Declared, Role
from pam_iampass.fleet.view import View

_HEAD = """\
<!-- Made by `make pages` from `pam_iampass/fleet/`. -->
# Acts at a gateway

Everything that changes a fleet is an act. A gateway writes what an act changes and its record in one transaction: both,
or neither. What follows at IAMPASS, such as the end of sessions, comes after that. If the command is stopped meanwhile,
or IAMPASS does not answer, a gateway goes on within a minute, until IAMPASS knows.

The record (`pam-iampass-gateway log`) has these fields. One sign-in leaves 60 records a minute at most.

- the name of the act, and the person or host whom it concerns
- `caller`: the actor
- `known_by`: `command` for root of a gateway, with terminal and address; `sign-in` for a person in the portal
- `refused`: that the act was refused, with the reason

Root of a gateway may do every act, with `pam-iampass-gateway`. All others sign in at the portal with a passkey:

- **The person** acts only for themselves.
- **The help desk** acts for people all of whose groups it helps, but never for a person who has a passkey by a link of
  root's.
- **An admin** acts for all people but themselves. For themselves, people with a role can do only what "the person" can:
  another admin or root makes a bypass of an admin.
- **A role** is given by `operators` in gateway.yaml to groups. It works only with a passkey that was registered with a
  link of `pam-iampass-gateway operator link`, and only if the person had the role when root made the link.
- **With a touch**: the actor must touch the passkey for just this act with just these parameters, within two minutes.
  Acts with `-` in both columns are those of root alone.
- **and phone**: the actor must also approve on the phone. People who have never had a phone need not. People who
  have reported it lost, or whose phone IAMPASS no longer has, must register the next one first.

| act | what it does | who may without a touch | who may with a touch | the record's reason |
| --- | --- | --- | --- | --- |
"""

_NO_ACTS = """
## What is no act

These verbs of `pam-iampass-gateway` also change something, but cannot do it in one transaction, or need no database.
Only root of a gateway can run them. If a verb is stopped, run it again: until then, nobody can log in who should not.
All other verbs perform acts, or only show something.

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

The gateway shows these fields to each role, and nothing to a role that is not listed.

- People see rows of their own: what was asked of them and done to them, with the names that the gateway knows, not what
  a host says of the caller. They see no alerts, and no records from before they were added, because names are used
  again.
- The help desk sees the rows of people who have a group and all of whose groups it helps. `is_helped` says whether it
  may also act for the person.
- Root of a gateway sees what admins see, and all of the records with `pam-iampass-gateway log`.
- Nobody sees tokens of IAMPASS and secrets of hosts.

| rows | fields | to whom |
| --- | --- | --- |
"""


def page() -> str:
    """The page."""
    acts = "".join(_row(name, act) for name, act in sorted(DECLARED.items()))
    no_acts = "".join(f"| {_fields(verbs.split(', '))} | {why} |\n" for verbs, why in NO_ACTS.items())
    return _HEAD + acts + _NO_ACTS + no_acts + _VIEWS + "".join(map(_rows, VIEWS))


def _rows(view: View[Any]) -> str:
    """One row for the fields that the same roles see."""
    seen: dict[tuple[str, ...], list[str]] = {}
    roles = [role for role in Role if role is not Role.ROOT]
    for name in dict.fromkeys(name for role in roles for name in view.fields.get(role, ())):
        to = tuple(role.value for role in roles if name in view.fields.get(role, ()))
        seen.setdefault(to, []).append(name)
    return "".join(f"| {view.of} | {_fields(names)} | {', '.join(to)} |\n" for to, names in seen.items())


def _fields(names: Collection[str]) -> str:
    return ", ".join(f"`{name}`" for name in names)


def _row(name: str, act: type[Declared[Any]]) -> str:
    what = " ".join((act.__doc__ or "").split())
    without, touching = _who(act)
    return f"| `{name}` | {what} | {without} | {touching} | {act.declared.record or '-'} |\n"


def _who(act: type[Declared[Any]]) -> tuple[str, str]:
    """The roles that may do an act without a touch, and those that may do it with one."""
    roles = [role for role in Role if role in act.declared.by]
    without = [role.value for role in roles if role not in act.declared.touch]
    touching = [
        f"{role.value} and phone" if role in act.declared.phone else role.value
        for role in roles
        if role in act.declared.touch
    ]
    return ", ".join(without) or "-", ", ".join(touching) or "-"
