"""The lines of strangers, and what is remembered of tokens."""

from __future__ import annotations

import asyncio

import pytest

from pam_iampass.server import strangers
from pam_iampass.server.strangers import LineIsFull, Strangers


def test_the_token_that_was_found_longest_ago_is_forgotten_first(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(strangers, "_MOST_KNOWN", 2)
    known = Strangers(1, 1)
    for token in ("first", "second", "first", "third"):
        known.found(token)
    assert [known.knows(token) for token in ("first", "second", "third")] == [True, False, True]
    known.forget("first")
    assert not known.knows("first")


def test_a_call_that_is_given_up_leaves_its_place_in_the_line() -> None:
    async def show() -> None:
        lines, entered = Strangers(1, 1), asyncio.Event()

        async def call() -> None:
            async with lines.turn("192.0.2.1"):
                entered.set()
                await asyncio.Event().wait()

        for _ in range(3):
            entered.clear()
            first = asyncio.create_task(call())
            await entered.wait()
            waits = asyncio.create_task(call())
            await asyncio.sleep(0)
            with pytest.raises(LineIsFull):
                await call()
            for each in (waits, first):
                each.cancel()
            await asyncio.gather(first, waits, return_exceptions=True)

    asyncio.run(show())


def test_few_refusals_of_a_line_are_late() -> None:
    """A second, as the clock of the event loop says, which nothing here waits for."""

    async def show() -> None:
        lines = Strangers(0, 0, 2)
        refused = [asyncio.create_task(lines.turn("192.0.2.1").__aenter__()) for _ in range(5)]
        for _ in range(5):
            await asyncio.sleep(0)
        done = {each for each in refused if each.done()}
        assert len(done) == 3
        assert {type(each.exception()) for each in done} == {LineIsFull}
        for each in refused:
            each.cancel()
        await asyncio.gather(*refused, return_exceptions=True)

    asyncio.run(show())
