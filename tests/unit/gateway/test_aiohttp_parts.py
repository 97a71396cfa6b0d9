"""The private parts of aiohttp that the gateway uses, by name: a version that changes one is noticed here."""

from __future__ import annotations

import asyncio
import inspect
from types import CodeType
from typing import Any, Callable

import pytest

pytest.importorskip("aiohttp")
pytest.importorskip("psycopg")

import aiohttp
from aiohttp import web
from aiohttp.client_proto import ResponseHandler

from pam_iampass.gateway.base import upstream
from pam_iampass.server import serving


async def answer(_: web.BaseRequest) -> web.Response:
    return web.Response()


def handler() -> web.RequestHandler:
    made = web.RequestHandler(web.Server(answer), loop=asyncio.get_running_loop())
    made.connection_made(asyncio.Transport())
    return made


def names(code: CodeType) -> set[str]:
    """What a function names: variables, attributes, and texts, such as that of `getattr`."""
    found = {*code.co_names, *(each for each in code.co_consts if isinstance(each, str))}
    return found.union(*(names(each) for each in code.co_consts if isinstance(each, CodeType)))


@pytest.mark.parametrize(
    ("ours", "of_aiohttp", "named"),
    [
        (
            serving._Connection,
            handler,
            {"_current_request", "_messages", "_request_count", "_request_in_progress", "_task_handler"},
        ),
        (serving._Server, lambda: web.Server(answer), set()),
        (upstream._Protocol, lambda: ResponseHandler(asyncio.get_running_loop()), set()),
        (upstream._Connector, aiohttp.BaseConnector, {"_create_connection"}),
    ],
)
def test_the_private_parts_that_are_used(ours: type, of_aiohttp: Callable[[], Any], named: set[str]) -> None:
    async def parts() -> set[str]:
        return set(dir(of_aiohttp()))

    members: list[Any] = [each.fget if isinstance(each, property) else each for each in vars(ours).values()]
    used = set(vars(ours)).union(*(names(each.__code__) for each in members if hasattr(each, "__code__")))
    there = asyncio.run(parts())
    assert {name for name in used & there if name.startswith("_") and not name.endswith("__")} == named


def test_what_they_mean() -> None:
    async def meaning() -> None:
        connection: Any = handler()
        assert isinstance(connection._task_handler, asyncio.Task)
        assert (connection._request_count, connection._current_request) == (0, None)
        assert (len(connection._messages), connection._request_in_progress) == (0, False)
        connection._task_handler.cancel()
        runner = web.AppRunner(web.Application())
        await runner.setup()
        assert {"request_factory", "request_handler"} <= vars(runner.server).keys(), "of the portal's app"
        await runner.cleanup()

    asyncio.run(meaning())
    create: Any = aiohttp.BaseConnector._create_connection
    assert inspect.iscoroutinefunction(create)
    assert create.__code__.co_varnames[: create.__code__.co_argcount] == ("self", "req", "traces", "timeout")
