"""What a page says of each error of the gateway."""

from __future__ import annotations

import pytest

pytest.importorskip("aiohttp")
pytest.importorskip("jinja2")

from pam_iampass.portal.calls import Error
from pam_iampass.portal.gateway import GatewayAway, GatewayError
from pam_iampass.portal.words import WORDS, words_of

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
