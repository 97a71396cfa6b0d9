"""To a host, a gateway is an IAMPASS: the published client, the strict rules of the protocol, and the module."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from pam_iampass.outcome import PamCode
from tests.sandbox.signer import Server, Signer
from tests.sandbox.test_published_client import (
    python,
    test_it_learns_of_a_denial,
    test_it_learns_why_nothing_was_started,
    test_it_polls_until_the_person_approves_and_ends_the_session,
)
from tests.sandbox.test_strictness import (
    test_a_call_that_is_not_as_it_should_be_begins_nothing,
    test_a_large_body_is_refused_before_it_is_read,
    test_a_nonce_is_good_once,
    test_a_wrong_secret_is_refused_with_the_time_of_the_server,
    test_the_query_is_signed_too,
    test_the_wrong_method_is_refused_with_the_right_one,
    test_urls_lead_to_the_name_that_was_called,
)
from tests.sandbox.witness import Witness
from tests.support.gateway import RunningGateway, settings_for
from tests.support.sandbox import HttpStatus, Sandbox
from tests.support.setting import ME, Setting

__all__ = [
    "python",
    "test_a_call_that_is_not_as_it_should_be_begins_nothing",
    "test_a_large_body_is_refused_before_it_is_read",
    "test_a_nonce_is_good_once",
    "test_a_wrong_secret_is_refused_with_the_time_of_the_server",
    "test_it_learns_of_a_denial",
    "test_it_learns_why_nothing_was_started",
    "test_it_polls_until_the_person_approves_and_ends_the_session",
    "test_the_query_is_signed_too",
    "test_the_wrong_method_is_refused_with_the_right_one",
    "test_urls_lead_to_the_name_that_was_called",
]

HOST, HOST_SECRET = "demo", "s3cret"  # those of the sandbox in the tests that are used again
KEY = "publickey ssh-ed25519 AAAA\n"


class Behind:
    """A gateway as a client sees it, with the phones of the sandbox behind it."""

    def __init__(self, gateway: RunningGateway, sandbox: Sandbox) -> None:
        self.gateway = gateway
        self.phones = sandbox
        self.port, self.url, self.ca_file = gateway.port, gateway.url, gateway.ca_file
        self.application_id, self.application_secret = HOST, HOST_SECRET

    def __getattr__(self, name: str) -> Any:
        return getattr(self.phones, name)

    def approve(self, person: str) -> None:
        self.phones.approve(f"token-of-{person}")
        self._wait_until_seen()

    def deny(self, person: str) -> None:
        self.phones.deny(f"token-of-{person}")
        self._wait_until_seen()

    def wait_for_end(self, person: str) -> Any:
        return self.phones.wait_for_end(f"token-of-{person}")

    def _wait_until_seen(self) -> None:
        while self.gateway.rows("SELECT 1 FROM session WHERE status = 'pending'"):
            time.sleep(0.05)


@pytest.fixture
def phones() -> Iterator[Sandbox]:
    """IAMPASS, where nobody is known by their name."""
    with Sandbox(application_id="fleet", application_secret="secret-of-iampass") as running:
        running.add_user("token-of-alice")
        running.add_user("token-of-bob", device=False)
        running.add_user(f"token-of-{ME}")
        yield running


@pytest.fixture
def sandbox(conninfo: str, phones: Sandbox, tmp_path: Path) -> Iterator[Behind]:
    with RunningGateway(settings_for(conninfo, phones, tmp_path)) as running:
        _populate(running)
        yield Behind(running, phones)


def _populate(running: RunningGateway) -> None:
    running.application_secret = HOST_SECRET
    running.add_host(HOST)
    for name in {"alice", "bob", ME}:
        running.add_person(name, f"token-of-{name}")


@pytest.fixture
def witness(python: Path, sandbox: Behind) -> Iterator[Witness]:
    with Witness(python, sandbox) as running:
        yield running


@pytest.fixture
def caller(sandbox: Behind) -> Signer[Server]:
    return Signer(sandbox)


@pytest.mark.needs_published_client
def test_the_published_client_manages_nobody(sandbox: Behind, witness: Witness) -> None:
    assert witness.call("add_user", "mallory") == "failed"
    assert witness.call("get_registration_link", "alice", None) is None
    assert witness.call("delete_user", "alice") == "failed"
    assert sandbox.phones.calls == ()


@pytest.mark.needs_published_client
def test_the_published_client_learns_that_a_person_is_unknown(witness: Witness) -> None:
    assert witness.call("authenticate_user", "token-of-alice")["failure_reason"] == "NOT_ON_THIS_HOST"


# The module of a host that has joined: see also test_joined_host.py


@pytest.fixture
def joined(own_folder: Path, sandbox: Behind) -> Iterator[Setting]:
    setting = Setting(own_folder, sandbox)  # type: ignore[arg-type]
    setting.configure(gateways=f"[{sandbox.url}]")
    yield setting
    setting.state.database.close()


def test_an_iampass_that_answers_behind_the_gateway_is_no_outage(joined: Setting, phones: Sandbox) -> None:
    phones.misbehave("start", HttpStatus(503), times=None)
    joined.configure(gateways=f"[{joined.sandbox.url}]", unavailable="ignore")
    assert joined.login(service="sshd", ssh_auth_info=KEY, uid="0").code == PamCode.MAXTRIES
    assert joined.outcome() == ("unavailable", "denied")
