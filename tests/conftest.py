"""Fixtures for all tests."""

from __future__ import annotations

import contextlib
import signal
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support import needs
from tests.support.examples import examples
from tests.support.folders import own_folder, trusted_folder
from tests.support.sandbox import Sandbox
from tests.support.setting import Setting
from tests.support.shipped_settings import for_root, installed

__all__ = ["for_root", "installed", "own_folder", "trusted_folder"]

# What is declared for gateways and portals evaluates `X | None`.
collect_ignore_glob = [
    f"unit/{room}/*" for room in ("fleet", "gateway", "portal") if sys.version_info < (3, 10)
]

# A shell that runs the tests in the background, or nohup, ignores signals; what the tests start would ignore them too.
signal.signal(signal.SIGINT, signal.default_int_handler)
signal.signal(signal.SIGHUP, signal.SIG_DFL)

with contextlib.suppress(ImportError):  # the booted tests do without it
    import hypothesis

    # How fast examples are made depends on what else the machine does.
    hypothesis.settings.register_profile(
        "busy machine",
        max_examples=examples(100),
        suppress_health_check=[hypothesis.HealthCheck.too_slow],
        deadline=None,
    )
    hypothesis.settings.load_profile("busy machine")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--part", metavar="N/M", help="run every Mth test, from the Nth on")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    needs.declare_by_fixture(items)
    if config.option.part:
        number, of = map(int, config.option.part.split("/"))
        items[:] = items[number - 1 :: of]


def pytest_runtest_setup(item: pytest.Item) -> None:
    needs.demand(item)


@pytest.fixture(scope="session")
def shared_sandbox() -> Iterator[Sandbox]:
    with Sandbox(application_id="demo") as sandbox:
        yield sandbox


@pytest.fixture
def world(shared_sandbox: Sandbox, own_folder: Path) -> Iterator[Setting]:
    shared_sandbox.behave()
    shared_sandbox.auto, shared_sandbox.delay, shared_sandbox.request_timeout = "approve", 0.05, 60.0
    shared_sandbox.add_user(Setting.token, device=True)
    setting = Setting(own_folder, shared_sandbox)
    yield setting
    setting.state.database.close()
