"""The calls of the portal as they are declared: the page, the client and what acts result in agree with them."""

from __future__ import annotations

import asyncio
import dataclasses
from pathlib import Path
from typing import Any, cast

import pytest

pytest.importorskip("psycopg")
pytest.importorskip("fido2")

from pam_iampass.gateway.acts import ACTS
from pam_iampass.gateway.acts_calls import CALLS
from pam_iampass.gateway.acts_results import RESULTS
from pam_iampass.gateway.acts_service import ActsService, CallRefused, Error
from pam_iampass.portal import gateway as client
from tools.docs import acts_protocol


def test_the_page_about_the_calls_is_made_from_their_declarations() -> None:
    page = Path(__file__).parents[3] / "docs/acts-protocol.md"
    assert page.read_text("utf-8") == acts_protocol.page(), "run: make pages"
    assert all(f"### `{path}`" in page.read_text("utf-8") for path in CALLS)


def fields(cls: type[Any]) -> dict[str, bool]:
    """The names of the fields of a dataclass, and whether each must be given."""
    return {
        each.name: each.default is dataclasses.MISSING and each.default_factory is dataclasses.MISSING
        for each in dataclasses.fields(cls)
    }


@pytest.mark.parametrize("path", CALLS)
def test_the_client_has_each_call_as_it_is_declared(path: str) -> None:
    (found,) = [each for each in client.Call.__subclasses__() if path == each.PATH]
    declared = CALLS[path]
    assert fields(found) == fields(declared)
    assert set(fields(found.ANSWER)) == set(fields(declared.declared.answer))
    assert found.__name__ == declared.__name__


def test_the_client_shows_no_token() -> None:
    for each in client.Call.__subclasses__():
        for one in dataclasses.fields(each):
            assert one.repr is (one.name != "token"), each


def test_it_is_declared_what_is_told_of_each_act_that_others_than_root_may_do() -> None:
    assert set(RESULTS) == {act for act in ACTS.values() if act.declared.by}


def test_a_call_that_waits_for_a_phone_is_answered_when_the_service_stops() -> None:
    async def go() -> ActsService:
        stopping = asyncio.Event()
        service = ActsService(cast(Any, None), stopping)
        waits = asyncio.ensure_future(service.hold(asyncio.Event().wait()))
        await asyncio.sleep(0)
        assert service.held == 1
        stopping.set()
        for _ in range(10):
            await asyncio.sleep(0)
        assert waits.done()
        with pytest.raises(CallRefused) as refused:
            waits.result()
        assert refused.value.reason == "STOPPING"
        return service

    assert asyncio.run(go()).held == 0


def test_an_error_has_the_status_that_http_has_for_it() -> None:
    assert all(400 <= error.status < 600 for error in Error)
    assert {error for error in Error if error.status >= 500} == {
        Error.RESTORED,
        Error.DATABASE_AWAY,
        Error.IAMPASS_AWAY,
        Error.UNKNOWN_OUTCOME,
        Error.STOPPING,
    }
