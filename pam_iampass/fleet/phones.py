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
    said = ["From now on nothing counts that this phone approves."]
    if not result["disabled"]:
        said.append("IAMPASS has not disabled it yet; the gateway goes on with it.")
    if result["ended"]:
        said.append(f"{number_of(result['ended'], 'login has', 'logins have')} ended.")
    if result["bypasses"]:
        said.append("What let in without the phone for a while has ended.")
    if result["codes_left"]:
        left = number_of(result["codes_left"], "recovery code still counts", "recovery codes still count")
        said.append(f"{left}.")
    return " ".join([*said, "The next phone needs a link, which the help desk or an administrator makes."])


@act(
    "phone_lost",
    "phone reported lost",
    by={SELF, HELPDESK, ADMIN},
    touch={HELPDESK, ADMIN},
    record="how many sessions there are to end, how many bypasses were ended, how many recovery codes are good; when"
    " IAMPASS has disabled the phone, another record says so",
    label="Report the phone lost",
    says="From now on nothing counts that the phone of {person} approves; logins and sign-ins of {person} end, and "
    "what lets {person} in without the phone. A new phone is another step.",
    own="From now on nothing counts that your phone approves. Your logins end, all your sign-ins here but this one, "
    "and what lets you in without the phone for a while. You need the help desk, or an administrator, for the next "
    "phone.",
    done=_lost,
    is_harm=True,
)
@dataclass(frozen=True)
class ReportLostPhone(OfPerson[LostPhone]):
    """Deny what the phone of the person approves, at once and until IAMPASS has disabled it, and end the person's
    sessions, bypasses and sign-ins, apart from the one by which people report it themselves and those that began later.
    People cannot revoke their own recovery codes with it: `recovery_revoke` needs a touch."""

    end_codes: Annotated[bool, flag, Field("Make the recovery codes void as well", by={HELPDESK, ADMIN})] = (
        False
    )
    """Also revoke the recovery codes: they were lost, too."""


@act("enroll", "link for a phone", record=_ASKED, news=_NEWS)
@dataclass(frozen=True)
class EnrollPhone(OfPerson[Link]):
    """Have IAMPASS make a link that registers a phone of the person, or send it to any phone number. Results in the
    link: anyone who opens it can approve the person's logins."""

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
    says="IAMPASS makes a link that registers a phone. Whoever opens it can approve the logins of {person}: first "
    "make sure who is asking you for it.",
    own="IAMPASS makes a link that registers your next phone, in place of this one. First approve it on the phone that "
    "you have, if you have one.",
    done=lambda result: (
        "This link registers the phone. It is shown only now."
        if result["url"]
        else "IAMPASS has sent the link to the phone number."
    ),
)
@dataclass(frozen=True)
class NewPhone(OfPerson[Link]):
    """Have IAMPASS make a link that registers a phone of the person, or send it to the phone number that is known here.
    Results in the link."""

    sends: Annotated[bool, flag, Field("Send it to the phone number that is known here")] = False


# Views


class PhoneRow(TypedDict, total=False):
    """Whether a person has a phone."""

    user: ToHelpers[str]
    phone: ToHelpers[str]
    lost_at: ToHelpers[datetime | None]


PHONE = View("phone", PhoneRow)
