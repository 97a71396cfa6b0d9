"""The portal in front of a real gateway's socket, and people of each role."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from pathlib import Path
from typing import Callable

import pytest

from pam_iampass.gateway.base.settings import GatewaySettings, OperatorSettings, PortalSettings
from pam_iampass.portal import settings
from tests.gateway.conftest import conninfo, gateway_server, postgres, sandbox, template
from tests.support import needs
from tests.support.acts_socket import RunningActs, with_passkey
from tests.support.gateway import RunningGateway
from tests.support.portal import RunningPortal, Visitor, free_port

__all__ = ["conninfo", "gateway_server", "postgres", "sandbox", "template"]
OPERATORS = OperatorSettings(frozenset({"it"}), frozenset({"sec"}), frozenset({"desk"}), frozenset({"staff"}))

SignIn = Callable[[str], Visitor]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    needs.declare(items, __file__, "needs_isolated_root")


@pytest.fixture
def server(gateway_server: RunningGateway) -> RunningGateway:
    """What serves hosts. alice has no group; dora is of the help desk and helps staffer, iris is an admin, sam an
    auditor."""
    gateway_server.add_person("dora", "token-of-dora", ("desk",))
    gateway_server.add_person("iris", "token-of-iris", ("it",))
    gateway_server.add_person("sam", "token-of-sam", ("sec",))
    gateway_server.add_person("staffer", "token-of-staffer", ("staff",))
    return gateway_server


@pytest.fixture
def port() -> int:
    return free_port()


@pytest.fixture
def origin(port: int) -> str:
    """Where browsers find the portal."""
    return "https://iampass.example.com"


@pytest.fixture
def acts_settings(server: RunningGateway, origin: str) -> GatewaySettings:
    return dataclasses.replace(server.settings, operators=OPERATORS, portal=PortalSettings(origin))


@pytest.fixture
def acts(acts_settings: GatewaySettings, tmp_path: Path) -> Iterator[RunningActs]:
    with RunningActs(acts_settings, tmp_path) as running:
        yield running


@pytest.fixture
def portal(acts: RunningActs, port: int, origin: str) -> Iterator[RunningPortal]:
    with RunningPortal(settings.PortalSettings(origin), acts.path, port) as running:
        yield running


@pytest.fixture
def signed_in(acts: RunningActs, portal: RunningPortal) -> SignIn:
    """Signs somebody in, in a new browser, with a passkey by root's link."""

    def sign_in(person: str) -> Visitor:
        visitor = Visitor(portal, with_passkey(acts, person, by_root=True))
        assert visitor.sign_in().status == 303
        return visitor

    return sign_in
