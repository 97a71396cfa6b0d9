"""One behavior, two transports: what the tests of the client show of http.client holds for aiohttp too."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.client import talk
from tests.client.test_authentication import *  # noqa: F403
from tests.client.test_clock import *  # noqa: F403
from tests.client.test_connecting import *  # noqa: F403
from tests.client.test_faults import *  # noqa: F403
from tests.client.test_outage import *  # noqa: F403
from tests.client.test_retries import *  # noqa: F403
from tests.client.test_session import *  # noqa: F403
from tests.client.test_sharing import *  # noqa: F403
from tests.client.test_tls import *  # noqa: F403
from tests.gateway.upstream_transport import UpstreamTransport

_UNENDED = (
    "a response that does not say where it ends is no answer: asyncio does not notice if it is cut short"
)
_INTERIM = "aiohttp passes over interim responses, as RFC 9110 (15.2) asks"
_FULL = "a gateway's connections to IAMPASS begin with a full handshake"
_EMPTY = "aiohttp would leave out the question mark of an empty query: such a URL is refused"
DIFFERENT = {
    "a_url_is_sent_and_signed_byte_for_byte_as_it_was_given[https://localhost:{port}-/?]": _EMPTY,
    "a_url_is_sent_and_signed_byte_for_byte_as_it_was_given[HTTPS://LOCALHOST:{port}-/?]": _EMPTY,
    "a_further_connection_goes_on_with_the_tls_session_for_an_hour_after_the_certificate_was_verified": _FULL,
    "a_server_with_another_certificate_is_refused_although_a_session_is_offered": _FULL,
    "each_fault_is_its_error_in_time_after_one_try[a large body without length-poll]": _UNENDED,
    "each_fault_is_its_error_in_time_after_one_try[too many headers-poll]": _UNENDED,
    "unusual_but_complete_answers_are_taken[no length]": _UNENDED,
    "unusual_but_complete_answers_are_taken[HTTP/1.0]": _UNENDED,
    "each_fault_is_its_error_in_time_after_one_try[103-poll]": _INTERIM,
    "an_answer_after_an_early_hint_is_never_the_next_answer": _INTERIM,
}


@pytest.fixture(autouse=True, scope="module")
def _through_aiohttp() -> Iterator[None]:
    with talk.made_with(UpstreamTransport):
        yield


@pytest.fixture(autouse=True)
def _differences(request: pytest.FixtureRequest) -> None:
    reason = DIFFERENT.get(request.node.name.removeprefix("test_"))
    if reason is not None:
        request.applymarker(pytest.mark.xfail(reason=reason, run=False))
