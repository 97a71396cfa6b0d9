"""People who sign in: passkeys, the links that register them, sign-ins, and the code for a lost phone."""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import datetime
from typing import Annotated, TypedDict

from pam_iampass.fleet.act import ADMIN, HELPDESK, SELF, Field, OfPerson, act, flag, text
from pam_iampass.fleet.names import id_error, label_error
from pam_iampass.fleet.results import Codes, Link, Number, Result, number_of
from pam_iampass.fleet.view import ToSelf, View

MOST_BYTES = 16 * 1024
"""No text of a browser's answer may be longer."""
_LINK_RECORD = "whether it replaces passkeys"


def _passkey_error(id: str) -> str | None:
    """Why this is no id of a passkey, as the end of a sentence."""
    return None if 0 < len(id) <= MOST_BYTES and id.isascii() else "is no id of a passkey"


def _answer_error(answer: str) -> str | None:
    """Why this is no answer of a browser, as the end of a sentence."""
    try:
        found = json.loads(answer) if len(answer) <= MOST_BYTES else None
    except (ValueError, RecursionError):
        found = None
    return None if isinstance(found, dict) else "is no JSON object of a browser"


# Links


@dataclass(frozen=True)
class OfLink(OfPerson[Link]):
    """An act that makes a link which registers a passkey. It is good once, for 15 minutes, and makes an earlier one
    void."""

    replaces: Annotated[bool, flag, Field("Replace all current passkeys")] = False
    """End the person's other passkeys, and all sign-ins, once the link is used."""


@act("operator_link", "link for a passkey with a role", record=_LINK_RECORD)
@dataclass(frozen=True)
class LinkOperator(OfLink):
    """Make a link that registers a passkey for the roles that the person has now; roles that the person gets later need
    another link. The link can be used once, within 15 minutes. Once it is used, the person's passkeys by other links
    end."""


@act(
    "person_link",
    "link for a passkey",
    by={HELPDESK, ADMIN},
    record=_LINK_RECORD,
    label="Make a link for a passkey",
    says="The link registers a passkey as {person}. It is valid once, for 15 minutes. If {person} has a phone, they "
    "approve on it. Give the link only to {person}.",
    done=lambda result: (
        f"{{person}} can register a passkey with this link{' until {until}' if result['ends_at'] else ''}"
    ),
    then=lambda _: "This link is valid once. It is shown only now.",
    weakens=True,
)
@dataclass(frozen=True)
class LinkPerson(OfLink):
    """Make a link that registers a passkey without roles, for a person who has neither a role nor a passkey by a link
    of root's. The link can be used once, within 15 minutes."""


@act(
    "operator_end",
    "passkeys and sign-ins ended",
    record="how many passkeys and sign-ins there were",
)
@dataclass(frozen=True)
class EndOperator(OfPerson[Result]):
    """Remove all passkeys of the person, and end all sign-ins and the link."""


# One's own passkeys and sign-ins


@act(
    "passkey_add",
    "passkey registered",
    by={SELF},
    phone={SELF},
    record="the passkey's label",
    news="a passkey",
    purpose="another passkey",
    label="Add a passkey",
    own="Your browser makes another passkey. Approve on your phone, then confirm with the passkey of this sign-in. If "
    "you have a role here, you do not have the role in sign-ins with the new passkey.",
    done=lambda _: "You can now sign in with the new passkey",
)
@dataclass(frozen=True)
class AddPasskey(OfPerson[Result]):
    """Register a further passkey of the person. It has no roles."""

    label: Annotated[str, text(label_error), Field("Name, such as that of the device", required=True)]
    answer: Annotated[str, text(_answer_error), Field("Passkey", is_made=True)]
    """The answer of the browser to `passkey_options`, as JSON."""


@act(
    "passkey_remove",
    "passkey removed",
    by={SELF},
    record="the passkey's label",
    label="Remove this passkey",
    own="This passkey can no longer sign in, and its sign-ins end. If it is your last passkey, you need a link to sign "
    "in again.",
    done=lambda _: "The passkey is removed",
    is_harm=True,
)
@dataclass(frozen=True)
class RemovePasskey(OfPerson[Result]):
    """Remove a passkey of the person, and end the sign-ins with it. A passkey by a link of root's can be removed only
    in a sign-in with such a passkey."""

    passkey: Annotated[str, text(_passkey_error)]


@act(
    "passkey_confirm",
    "passkey approved after a restore",
    by={SELF},
    phone={SELF},
    purpose="a passkey from before a restore",
    label="Approve this passkey",
    own="The gateway's database was restored from a backup. Confirm on your phone that this passkey is still yours.",
    done=lambda _: "You can use this passkey again",
)
@dataclass(frozen=True)
class ConfirmPasskey(OfPerson[Result]):
    """Go on using a passkey from before the database was restored: the person approves it on the phone."""


@act(
    "sign_in_end",
    "signed out",
    by={SELF},
    touch=(),
    record="how many sign-ins there were",
    label="End this sign-in",
    own="This sign-in ends at once. Your logins on hosts continue.",
    done=lambda result: f"{number_of(result['number'], 'sign-in has', 'sign-ins have')} ended",
    is_harm=True,
)
@dataclass(frozen=True)
class EndSignIns(OfPerson[Number]):
    """End all sign-ins of the person, or one. Sign-ins that began after the one in which this is done go on."""

    sign_in: Annotated[str, text(id_error, empty=True)] = ""


# A lost phone


@act(
    "code_for_lost_phone",
    "one code for a lost phone",
    by={SELF},
    record="until when it counts",
    news="a recovery code",
    label="Get a code to log in with",
    own="You get one code for the next 12 hours. You can get such a code once a week, while your phone is reported "
    "lost. Your other recovery codes are revoked, and your administrators get an alert.",
    done=lambda _: "1 recovery code for {person}, for 12 hours",
    then=lambda _: "This code logs you in once. It is shown only now.",
)
@dataclass(frozen=True)
class CodeForLostPhone(OfPerson[Codes]):
    """Replace all recovery codes of the person by one, for 12 hours. It is possible once a week, while the phone is
    reported lost and there is no other phone, for people in the groups of `self_service` who have no role."""


# Views


class PasskeyRow(TypedDict):
    """A passkey of the person who looks."""

    id: str
    label: str
    made_at: datetime
    roles: list[str]


class SignInRow(TypedDict):
    """A sign-in of the person who looks, as the portal has said where it came from."""

    id: str
    began_at: datetime
    active_at: datetime
    ends_at: datetime
    remote: str
    agent: str


class OwnRow(TypedDict, total=False):
    """Everything that the person who looks has, besides logins and records."""

    user: ToSelf[str]
    groups: ToSelf[list[str]]
    phone_lost_at: ToSelf[datetime | None]
    code_for_lost_phone: ToSelf[bool]
    codes_left: ToSelf[int]
    passkeys: ToSelf[list[PasskeyRow]]
    sign_ins: ToSelf[list[SignInRow]]


OWN = View("mine", OwnRow)
