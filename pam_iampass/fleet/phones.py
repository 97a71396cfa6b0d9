"""Phones: a lost one is reported, and the next one registered."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Annotated, Any, Callable, TypedDict

from pam_iampass.config.value_types import phone_number, plain_name
from pam_iampass.fleet.act import ADMIN, HELPDESK, SELF, Field, OfPerson, act, flag, text
from pam_iampass.fleet.results import Link, LostPhone, number_of
from pam_iampass.fleet.view import ToHelpers, View

_LONGEST_MESSAGE = 1000
_ASKED = "whether IAMPASS is asked for a link, or to send one"
_NEWS = "a link for a phone"


def number_error(number: str) -> str | None:
    """Why this is no phone number in the form that IAMPASS requires, as the end of a sentence."""
    return _error_of(phone_number, number)


def display_name_error(name: str) -> str | None:
    """Why the app cannot show this name of a person, as the end of a sentence."""
    return _error_of(plain_name, name)


def _error_of(parse: Callable[[str], str], text: str) -> str | None:
    try:
        return None if parse(text) == text else "has spaces or punctuation"
    except ValueError as error:
        return str(error)


def _message_error(message: str) -> str | None:
    """Why a message cannot begin with this text, as the end of a sentence."""
    return f"is longer than {_LONGEST_MESSAGE} characters" if len(message) > _LONGEST_MESSAGE else None


def _lost(result: Mapping[str, Any]) -> str:
    said, warnings = ["Approvals from this phone are now rejected."], []
    if not result["disabled"]:
        warnings.append("IAMPASS has not disabled the phone yet. The gateway tries again.")
    if result["ended"]:
        said.append(f"{number_of(result['ended'], 'login has', 'logins have')} ended.")
    if result["bypasses"]:
        said.append("Logins now need the phone again.")
    if result["codes_left"]:
        left = number_of(
            result["codes_left"], "recovery code is still valid", "recovery codes are still valid"
        )
        warnings.append(f"{left}.")
    said.append("The help desk or an administrator makes the link for the next phone.")
    return "\n".join(" ".join(each) for each in (said, warnings) if each)


@act(
    "phone_lost",
    "phone reported lost",
    by={SELF, HELPDESK, ADMIN},
    touch={HELPDESK, ADMIN},
    record="how many sessions there are to end, how many bypasses were ended, how many recovery codes are valid; when"
    " IAMPASS has disabled the phone, another record says so",
    label="Report the phone lost",
    says="Approvals from the phone of {person} are rejected from now on. All logins and sign-ins of {person} end, and "
    "logins without the phone are no longer allowed. To register a new phone is a separate step.",
    own="Approvals from your phone are rejected from now on. All your logins end, and all your sign-ins but this one. "
    "Logins without the phone are no longer allowed. For the next phone, you need the help desk or an administrator.",
    done=lambda _: "{Whose} phone is reported lost",
    then=_lost,
)
@dataclass(frozen=True)
class ReportLostPhone(OfPerson[LostPhone]):
    """Deny what the phone of the person approves, until IAMPASS has disabled it. End the person's sessions, bypasses
    and sign-ins. A sign-in in which people report their own phone goes on, and so do later ones. People cannot revoke
    their own recovery codes with it: `recovery_revoke` needs a touch."""

    end_codes: Annotated[bool, flag, Field("Also revoke the recovery codes", by={HELPDESK, ADMIN})] = False
    """Also revoke the recovery codes: they were lost, too."""


@act("enroll", "link for a phone", record=_ASKED, news=_NEWS)
@dataclass(frozen=True)
class EnrollPhone(OfPerson[Link]):
    """Have IAMPASS make a link that registers a phone of the person, or send it to any phone number. Anyone who opens
    the link can approve the person's logins."""

    number: Annotated[str, text(number_error, empty=True)] = ""
    message: Annotated[str, text(_message_error, empty=True)] = ""
    display_name: Annotated[str, text(display_name_error, empty=True)] = ""


@act(
    "phone_new",
    "link for a new phone",
    by={SELF, HELPDESK, ADMIN},
    phone={SELF},
    record=_ASKED,
    news=_NEWS,
    purpose="a new phone",
    label="Register a new phone",
    says="IAMPASS makes a link that registers a phone. Anyone who opens the link can approve logins of {person}, so "
    "first verify who is asking you for it.",
    own="IAMPASS makes a link that registers your next phone and replaces this one. If you still have a phone, first "
    "approve on it.",
    done=lambda result: (
        "{Who} can register a phone with this link"
        if result["url"]
        else "IAMPASS sent {who} the link for a phone"
    ),
    then=lambda result: (
        "The link is shown only now."
        if result["url"]
        else "The link went to the phone number on record, and registers the phone."
    ),
    weakens=True,
)
@dataclass(frozen=True)
class NewPhone(OfPerson[Link]):
    """Have IAMPASS make a link that registers a phone of the person, or send it to the phone number that the gateway
    has."""

    sends: Annotated[bool, flag, Field("Send the link to the phone number on record")] = False


# Views


class PhoneRow(TypedDict, total=False):
    """Whether a person has a phone."""

    user: ToHelpers[str]
    phone: ToHelpers[str]
    lost_at: ToHelpers[datetime | None]


PHONE = View("phone", PhoneRow)
