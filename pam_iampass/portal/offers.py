"""The acts that the portal offers, with what is said about each before and after it is done."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Callable

from pam_iampass.portal.words import REASONS

SELF, HELPDESK, ADMIN = "self", "helpdesk", "admin"
_ALL = frozenset({SELF, HELPDESK, ADMIN})
_OTHERS = frozenset({HELPDESK, ADMIN})
_OWN = frozenset({SELF})
_ADMIN = frozenset({ADMIN})
_NOBODY = frozenset[str]()

Form = Mapping[str, Any]


class Unreadable(Exception):
    """A field of a form whose value cannot be what it is for. The text says why, as the end of a sentence."""

    def __init__(self, field: str, problem: str) -> None:
        super().__init__(f"{field} {problem}")


@dataclass(frozen=True)
class Field:
    """A parameter of an act, as a form has it."""

    name: str
    label: str
    kind: str = "text"
    """`text`, `flag` (a tick), `list` (names, with commas between), `choice`, or `made`: filled in by a script."""
    hint: str = ""
    required: bool = False
    choices: Mapping[str, str] | None = None
    """The numbers that can be chosen, each with its label."""
    is_given: bool = False
    """Whether only the page gives it, with what it is about."""
    by: frozenset[str] = _ALL
    """Who is offered it."""

    def read(self, form: Form) -> Any:
        """The value in a form; None if it is left out. Raises Unreadable."""
        text = str(form.get(self.name, "")).strip()
        if self.kind == "flag":
            return text != ""
        if self.kind == "list":
            return [name for each in text.split(",") if (name := each.strip())] or None
        if self.kind == "choice":
            if text not in (self.choices or {}):
                raise Unreadable(self.label, "must be one of those that can be chosen")
            return float(text)
        return text or None


@dataclass(frozen=True)
class Offer:
    """An act as the portal offers it. A test compares it with what the gateway has declared."""

    act: str
    label: str
    """What the button says."""
    says: str
    """What will happen, for who does it to somebody else. `{person}` and `{host}` are names."""
    fields: Sequence[Field]
    by: frozenset[str]
    """Who may do it: `self`, `helpdesk`, `admin`."""
    touch: frozenset[str]
    """Who of them confirms it with a passkey."""
    phone: frozenset[str] = _NOBODY
    """Who of them also approves it on the phone."""
    own: str = ""
    """What will happen, for who does it to themselves."""
    done: Callable[[Mapping[str, Any]], str] = lambda _: "It is done."
    """What has happened, made from the act's result."""
    is_harm: bool = False
    """Whether it ends, removes or stops something."""

    def steps(self, role: str) -> list[str]:
        """What a script has to do before the form is sent: `create`, `ring`, `touch`."""
        made = ["create"] if any(field.kind == "made" for field in self.fields) else []
        return [
            *made,
            *(["ring"] if role in self.phone else []),
            *(["touch"] if role in self.touch else []),
        ]

    def sentence(self, role: str, given: Mapping[str, Any]) -> str:
        """What will happen."""
        names = {name: given.get(name, "") for name in ("person", "host")}
        return (self.own if role == SELF else self.says).format(**names)

    def read(self, form: Form) -> dict[str, Any]:
        """The parameters in a form. Raises Unreadable."""
        found = {field.name: field.read(form) for field in self.fields}
        return {name: value for name, value in found.items() if value is not None}


def _count(number: int, one: str, more: str) -> str:
    return f"1 {one}" if number == 1 else f"{number} {more}"


def _sessions(result: Mapping[str, Any]) -> str:
    ended = _count(result["ended"], "login has", "logins have")
    later = " IAMPASS has not ended all of them yet; the gateway goes on with it." if result["errors"] else ""
    return f"{ended} ended.{later}"


def _disowned(result: Mapping[str, Any]) -> str:
    later = " IAMPASS has not ended it yet; the gateway goes on with it." if result["errors"] else ""
    return (
        f"It has ended, and your administrators are told.{later} Somebody may have the key or the password with which "
        "you log in, or your passkey: ask the help desk what to do."
    )


def _lost(result: Mapping[str, Any]) -> str:
    said = ["From now on nothing counts that this phone approves."]
    if not result["disabled"]:
        said.append("IAMPASS has not disabled it yet; the gateway goes on with it.")
    if result["ended"]:
        said.append(f"{_count(result['ended'], 'login has', 'logins have')} ended.")
    if result["bypasses"]:
        said.append("What let in without the phone for a while has ended.")
    if result["codes_left"]:
        said.append(
            f"{_count(result['codes_left'], 'recovery code still counts', 'recovery codes still count')}."
        )
    return " ".join([*said, "The next phone needs a link, which the help desk or an administrator makes."])


def _verified(result: Mapping[str, Any]) -> str:
    if result["reason"]:
        why = REASONS.get(result["reason"]) or "it could not be asked"
        return f"No phone was asked: {why}. Nothing is known about who is calling."
    return {
        "approved": "Approved: whoever is calling has this person's phone in the hand.",
        "denied": "Denied on the phone: whoever is calling is somebody else. Do nothing for them.",
    }.get(result["answer"], "There was no answer: nothing is known about who is calling.")


def _given(name: str, label: str, kind: str = "text") -> Field:
    return Field(name, label, kind, is_given=True)


_PERSON = _given("person", "Person")
_HOST = _given("host", "Host")
_TIMES = {"900": "15 minutes", "3600": "1 hour", "14400": "4 hours", "28800": "8 hours", "86400": "1 day"}
_REPLACES = Field("replaces", "Replace the passkeys that there are", "flag")

_ALL_OFFERS = (
    Offer(
        "session_not_me",
        "That is not me",
        "",
        (_PERSON, _given("session", "Login")),
        _OWN,
        _NOBODY,
        own="If it is not you, end it: whoever it is must wait before they can ask again, and your administrators are "
        "told.",
        done=_disowned,
        is_harm=True,
    ),
    Offer(
        "session_end",
        "End",
        "The logins end at once, on every host on which they are.",
        (_PERSON, _HOST, _given("session", "Login"), _given("everything", "All logins of the fleet", "flag")),
        _ALL,
        _OTHERS,
        own="The login ends at once.",
        done=_sessions,
        is_harm=True,
    ),
    Offer(
        "phone_lost",
        "Report the phone lost",
        "From now on nothing counts that the phone of {person} approves; logins and sign-ins of {person} end, and what "
        "lets {person} in without the phone. A new phone is another step.",
        (_PERSON, Field("end_codes", "Make the recovery codes void as well", "flag", by=_OTHERS)),
        _ALL,
        _OTHERS,
        own="From now on nothing counts that your phone approves. Your logins end, all your sign-ins here but this "
        "one, and what lets you in without the phone for a while. You need the help desk, or an administrator, for the "
        "next phone.",
        done=_lost,
        is_harm=True,
    ),
    Offer(
        "phone_new",
        "Register a new phone",
        "IAMPASS makes a link that registers a phone. Whoever opens it can approve the logins of {person}: first "
        "make sure who is asking you for it.",
        (_PERSON, Field("sends", "Send it to the phone number that is known here", "flag")),
        _ALL,
        _ALL,
        _OWN,
        own="IAMPASS makes a link that registers your next phone, in place of this one. First approve it on the phone "
        "that you have, if you have one.",
        done=lambda result: (
            "This link registers the phone. It is shown only now."
            if result["url"]
            else "IAMPASS has sent the link to the phone number."
        ),
    ),
    Offer(
        "phone_verify",
        "Ring to verify a caller",
        "The phone of {person} rings now, as for a login: whoever is calling approves it, if the phone is in their "
        "hand. This page waits for the answer, for a minute or two. Not for a phone that may be lost: whoever has it "
        "could answer.",
        (_PERSON,),
        _OTHERS,
        _OTHERS,
        done=_verified,
    ),
    Offer(
        "recovery_new",
        "Make new recovery codes",
        "{person} gets ten new recovery codes, and the ones from before are void. You see the new ones once: hand "
        "them over on paper.",
        (_PERSON,),
        _ALL,
        _ALL,
        _OWN,
        own="You get ten new recovery codes, and the ones from before are void. You see them once: print them. First "
        "approve it on your phone.",
        done=lambda _: "These are the codes. They are shown only now.",
    ),
    Offer(
        "recovery_revoke",
        "Make the recovery codes void",
        "{person} can use none of the recovery codes any more.",
        (_PERSON,),
        _ALL,
        _ALL,
        own="You can use none of your recovery codes any more.",
        done=lambda result: "No recovery code counts any more." if result["number"] else "There were none.",
        is_harm=True,
    ),
    Offer(
        "code_for_lost_phone",
        "Get a code to log in with",
        "",
        (_PERSON,),
        _OWN,
        _OWN,
        own="You get one code that counts for 12 hours, once a week, while your phone is reported lost. All other "
        "recovery codes of yours are void then, and your administrators are told.",
        done=lambda _: "This code logs you in once, within 12 hours, on hosts where codes count. It is shown only now.",
    ),
    Offer(
        "bypass",
        "Let in without the phone",
        "{person} logs in without the phone for that long. What you write as the reason stands in the record.",
        (
            _PERSON,
            Field("seconds", "For how long", "choice", choices=_TIMES),
            Field("reason", "Reason, such as the number of the ticket", required=True),
            Field(
                "services",
                "Only through these services",
                "list",
                "empty: all; or sshd, sudo",
            ),
            Field("hosts", "Only on these hosts", "list", "empty: all; or web1, web2"),
            Field("groups", "Only on hosts of these groups", "list", "empty: all; or web, db"),
        ),
        _OTHERS,
        _OTHERS,
        done=lambda _: "No phone is asked for these logins now. It ends by itself.",
    ),
    Offer(
        "bypass_end",
        "Require the phone again",
        "{person} needs the phone again for each login.",
        (_PERSON,),
        _OTHERS,
        _OTHERS,
        done=lambda result: "The phone is needed again." if result["number"] else "It was needed already.",
        is_harm=True,
    ),
    Offer(
        "throttle_clear",
        "Let the phone ring again",
        "Logins of {person} need not wait any more: requests that were not approved, and wrong recovery codes, are "
        "forgotten. First ask {person} whether they were theirs.",
        (_PERSON,),
        _OTHERS,
        _OTHERS,
        done=lambda _: "The phone can ring again at once.",
    ),
    Offer(
        "person_link",
        "Make a link for a passkey",
        "Whoever opens the link within 15 minutes registers a passkey as {person}; who has a phone approves it there. "
        "Give it to {person} and to nobody else.",
        (_PERSON, _REPLACES),
        _OTHERS,
        _OTHERS,
        done=lambda _: "This link is good once. It is shown only now.",
    ),
    Offer(
        "passkey_add",
        "Add a passkey",
        "",
        (
            _PERSON,
            Field("label", "What you call it, such as the device", required=True),
            Field("answer", "Passkey", "made"),
        ),
        _OWN,
        _OWN,
        _OWN,
        own="Your browser makes a further passkey. You approve it on your phone, and confirm it with the passkey with "
        "which you have signed in. If you have a role here, it does not count with the new one.",
        done=lambda _: "You can sign in with the new passkey.",
    ),
    Offer(
        "passkey_remove",
        "Remove",
        "",
        (_PERSON, _given("passkey", "Passkey")),
        _OWN,
        _OWN,
        own="Nobody can sign in with this passkey any more, and sign-ins with it end. Without any passkey, you need a "
        "link to sign in again.",
        done=lambda _: "The passkey is removed.",
        is_harm=True,
    ),
    Offer(
        "passkey_confirm",
        "Approve this passkey",
        "",
        (_PERSON,),
        _OWN,
        _OWN,
        _OWN,
        own="The gateway's database was restored from a backup. Approve on your phone that this passkey is still "
        "yours.",
        done=lambda _: "You can go on with this passkey.",
    ),
    Offer(
        "sign_in_end",
        "End",
        "",
        (_PERSON, _given("sign_in", "Sign-in")),
        _OWN,
        _NOBODY,
        own="Who uses it has to sign in again. Your logins on hosts go on.",
        done=lambda result: f"{_count(result['number'], 'sign-in has', 'sign-ins have')} ended.",
        is_harm=True,
    ),
    Offer(
        "host_admit",
        "Admit",
        "Compare its id with the one that pam-iampass join has printed on the host. Once it is admitted, {host} may "
        "ask the phones of people.",
        (_HOST, Field("id", "its id", is_given=True)),
        _ADMIN,
        _ADMIN,
        done=lambda result: f"The host is {result['status']}.",
    ),
    Offer(
        "host_addresses",
        "Set the addresses",
        "If another host claims that a connection to one of these addresses is its own, the phone is asked, and "
        "there is an alert. Leave out addresses that several hosts share.",
        (
            _HOST,
            Field("addresses", "All its addresses", "list", "such as 192.0.2.8, 2001:db8::8", required=True),
        ),
        _ADMIN,
        _ADMIN,
        done=lambda _: "The addresses are set.",
    ),
    Offer(
        "host_suspend",
        "Suspend",
        "The gateway stops answering {host}. Until you resume the host, logins there that need a phone are denied. Its "
        "open logins go on, unless you end them.",
        (_HOST, Field("end_logins", "End its open logins as well, because the host was taken over", "flag")),
        _ADMIN,
        _ADMIN,
        done=lambda result: (
            "The gateway no longer answers the host. "
            f"{_count(result['ended'], 'login or request has', 'logins or requests have')} ended."
        ),
        is_harm=True,
    ),
    Offer(
        "host_resume",
        "Resume",
        "{host} is answered again.",
        (_HOST,),
        _ADMIN,
        _ADMIN,
        done=lambda result: f"The host is {result['status']}.",
    ),
)

OFFERS: Mapping[str, Offer] = {offer.act: offer for offer in _ALL_OFFERS}
"""Each offered act by its name."""
