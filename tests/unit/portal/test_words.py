"""What a page says of each error of the gateway, and of its records."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

pytest.importorskip("aiohttp")
pytest.importorskip("jinja2")
pytest.importorskip("psycopg")

from pam_iampass.client.status import Status
from pam_iampass.gateway.base.reasons import Reason
from pam_iampass.gateway.hosts import hosts
from pam_iampass.outcome import Outcome
from pam_iampass.portal import words
from pam_iampass.portal.calls import Error
from pam_iampass.portal.gateway import GatewayAway, GatewayError
from pam_iampass.portal.offers import OFFERS
from pam_iampass.portal.words import ASKERS, HELPDESK, OUTCOMES, WORDS, back_to, reason, told, words_of

#: What only a mistake of the portal leads to.
MISTAKES = {Error.UNKNOWN_CALL, Error.WRONG_METHOD, Error.TOO_SLOW}


@pytest.mark.parametrize("error", Error)
def test_each_error_of_the_gateway_has_words_and_its_status(error: Error) -> None:
    found = words_of(GatewayError(error.name, "detail", status=error.status), "/")
    assert (found is WORDS["FAILED"]) == (error in MISTAKES)
    assert found.status == (500 if error in MISTAKES else error.status)


def test_what_is_refused_is_said_for_what_was_asked() -> None:
    refused = GatewayError("REFUSED", "", status=403)
    assert words_of(refused, "/sign-in") is WORDS["SIGN_IN_REFUSED"]
    assert words_of(refused, "/link/challenge") is WORDS["LINK_REFUSED"]
    assert words_of(refused, "/act/phone_new") is WORDS["REFUSED"]
    assert words_of(GatewayAway("status 413", 413), "/act/bypass") is WORDS["TOO_LARGE"]
    assert words_of(GatewayAway("no socket"), "/") is WORDS["AWAY"]


@pytest.mark.parametrize(
    ("address", "name"),
    [
        ("/", " to My account"),
        ("/people?search=x", " to People"),
        ("/people/o%27neil", " to o'neil"),
        ("/hosts/web1.example", " to web1.example"),
        ("/log?act=bypass", " to Log"),
        ("/act/bypass", ""),
        ("/people/", ""),
    ],
)
def test_a_link_back_names_its_page(address: str, name: str) -> None:
    assert back_to(address) == f"Go back{name}"


def test_what_a_record_names_has_words() -> None:
    assert OUTCOMES.keys() == {each.value for each in Outcome}
    assert {hosts.ITSELF.name, hosts.HELPDESK.name} == ASKERS.keys()
    assert hosts.HELPDESK.name == HELPDESK
    for name in (*Reason.__members__, *(each.name for each in Status if not each.in_progress)):
        for outcome in ("denied", ""):
            said = reason({"kind": "decision", "outcome": outcome, "reason": name})
            assert name not in said.split(), name


@pytest.mark.parametrize(
    ("fields", "says"),
    [
        ({"outcome": "approved", "reason": "active"}, ""),
        ({"outcome": "denied", "reason": "a call: cancelled"}, "a call: the person denied the request"),
        ({"outcome": "no_device", "reason": "sudo -i: NO_MOBILE_DEVICE"}, "sudo -i: no phone is registered"),
        ({"event": "session_ended", "reason": "timeout"}, "the session expired"),
        (
            {"outcome": "approved", "reason": "active; told: New for you: a passkey (dora, 12:10 UTC)."},
            "shown at this login: New for you: a passkey (dora).",
        ),
        (
            {"outcome": "approved", "reason": "active; told: New for you: a passkey (12:10 UTC)."},
            "shown at this login: New for you: a passkey.",
        ),
        ({"outcome": "covered", "reason": "by the session ID on bastion"}, "by the login on bastion"),
        (
            {"outcome": "throttled", "reason": "backoff: 2 consecutive requests from this origin were not approved"},
            "2 consecutive requests from this origin were not approved",
        ),
        ({"kind": "act", "reason": "ID; it was let in"}, "it was let in"),
        ({"kind": "act", "reason": "alice, ID; sessions to end: 1"}, "alice; logins to end: 1"),
        ({"kind": "act", "reason": "ticket: closed"}, "ticket: closed"),
        ({"outcome": "timed_out", "host": "(gateway)", "reason": "phone_new: timeout"}, "a new phone"),
        ({"outcome": "timed_out", "host": "web", "reason": "phone_new: timeout"}, "phone_new"),
        ({"event": "session_ended", "host": "(helpdesk)", "reason": "a call: closed"}, "a call"),
        ({"kind": "alert"}, ""),
    ],
)  # fmt: skip
def test_a_reason_is_said_without_what_only_programs_know(fields: dict[str, str], says: str) -> None:
    id = "5f0c1f6e-0f6a-4d8e-9d43-5d4b3c0c2b11"
    row = {"kind": "decision", **fields, "reason": fields.get("reason", "").replace("ID", id)}
    assert reason(row) == says


def test_what_was_refused_is_said_and_that_a_host_had_more_logins() -> None:
    assert told({"kind": "act", "what": "refused", "refused": "phone_lost"}) == (
        "refused: phone reported lost",
        "no",
    )
    assert (
        told({"kind": "decision", "outcome": "bypassed", "lost": "3"})[0] == "allowed without the phone (×3)"
    )
    assert told({"kind": "report", "lost": "3"})[0] == "more logins, recorded only on the host"
    assert told({"kind": "decision", "event": "session_ended"})[0] == "login ended"
    assert told({"kind": "decision", "host": "(gateway)", "event": "session_ended"})[0] == "request ended"


def test_the_words_of_pages_are_plain_and_their_sentences_short() -> None:
    """As all pages for people: no clause stands for a noun, no word has a meaning of our own."""
    acts = (text for act in OFFERS.values() for text in (act.label, act.says, act.own))
    texts = [*acts, *(text for each in WORDS.values() for text in (each.title, each.says))]
    templates = (Path(words.__file__).parent / "templates").iterdir()
    shown = [re.sub(r"(?s){[#%{].*?[#%}]}|<[^>]*>", " ", path.read_text()) for path in templates]
    not_plain = (
        r"(?i)\b(whoever|nobody else|counts?|void|any more|let in|stands? here|you are told|lost it\?)(?!\w)"
    )
    assert [found[0] for text in (*texts, *shown) if (found := re.search(not_plain, text))] == []
    sentences = [sentence for text in texts for sentence in re.split(r"[.?!:] ", text)]
    assert [sentence for sentence in sentences if len(sentence.split()) > 24] == []
