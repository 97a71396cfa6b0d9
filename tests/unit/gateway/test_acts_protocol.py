"""The calls of the portal as they are declared: the page agrees with them, and each is answered."""

from __future__ import annotations

import asyncio
import dataclasses
from pathlib import Path
from typing import Any, cast

import pytest

pytest.importorskip("psycopg")
pytest.importorskip("fido2")

from pam_iampass.fleet import results
from pam_iampass.gateway.serving.acts_calls import CALLS
from pam_iampass.gateway.serving.acts_service import ActsService, CallRefused
from pam_iampass.portal import calls
from pam_iampass.portal.calls import Call, Error
from tools.docs import acts_protocol


def test_the_page_about_the_calls_is_made_from_their_declarations() -> None:
    page = Path(__file__).parents[3] / "docs/inside/acts-protocol.md"
    assert page.read_text("utf-8") == acts_protocol.page(), "run: make pages"
    assert all(f"| `{call.PATH}` |" in page.read_text("utf-8") for call in CALLS)


def test_every_call_that_is_declared_is_answered() -> None:
    assert list(CALLS) == Call.__subclasses__()


def test_no_token_link_or_code_is_shown_with_an_object() -> None:
    secret = {"token", "url", "codes"}
    for each in (*Call.__subclasses__(), calls.SignedIn, results.Link, results.Codes):
        for one in dataclasses.fields(each):
            assert one.repr is (one.name not in secret), each


def test_a_call_that_waits_for_a_phone_is_answered_when_the_service_stops() -> None:
    async def go() -> ActsService:
        stopping = asyncio.Event()
        service = ActsService(cast(Any, None), stopping)
        waits = asyncio.ensure_future(service.hold(asyncio.Event().wait(), "alice"))
        await asyncio.sleep(0)
        assert service.held == {"alice": 1}
        stopping.set()
        for _ in range(10):
            await asyncio.sleep(0)
        assert waits.done()
        with pytest.raises(CallRefused) as refused:
            waits.result()
        assert refused.value.reason == "STOPPING"
        return service

    assert not asyncio.run(go()).held


def test_an_error_has_the_status_that_http_has_for_it() -> None:
    assert all(400 <= error.status < 600 for error in Error)
    assert {error for error in Error if error.status >= 500} == {
        Error.RESTORED,
        Error.DATABASE_AWAY,
        Error.IAMPASS_AWAY,
        Error.UNKNOWN_OUTCOME,
        Error.STOPPING,
    }
