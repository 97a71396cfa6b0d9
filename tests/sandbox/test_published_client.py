"""The published client does all that its page shows, against the sandbox."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from pam_iampass import client
from pam_iampass.client.status import Status
from tests.sandbox.signer import Caller
from tests.sandbox.witness import Witness, witness_python
from tests.support.sandbox import Sandbox

pytestmark = pytest.mark.needs_published_client


@pytest.fixture(scope="session")
def python() -> Path:
    return witness_python()


@pytest.fixture
def witness(python: Path, sandbox: Sandbox) -> Iterator[Witness]:
    with Witness(python, sandbox) as running:
        yield running


def test_its_whole_surface_is_run_here_and_is_that_of_our_client(witness: Witness) -> None:
    run = Path(__file__).read_text() + Path(__file__).with_name("witness_driver.py").read_text()
    for kind, names in witness.call("surface").items():
        # This one reads the response to a start: `authenticate_user` calls it.
        missing = [name for name in names if name != "from_authentication_response"]
        assert [name for name in missing if not hasattr(getattr(client, kind), name)] == []
        if kind in ("AuthenticationAPI", "ManagementAPI", "Session"):
            assert [name for name in missing if name not in run] == []


def test_it_adds_users_and_learns_of_those_who_exist(sandbox: Sandbox, witness: Witness) -> None:
    assert witness.call("add_user", "MY USER") == "success"
    assert witness.call("add_user", "MY USER") == "user_exists"
    users = ["MY USER", "MY USER 1", "MY USER 2"]
    assert witness.call("add_users", users) == [["MY USER 1", "MY USER 2"], ["MY USER"]]
    assert {*users} <= {*sandbox.users}


def test_it_deletes_users(sandbox: Sandbox, witness: Witness) -> None:
    assert witness.call("delete_user", "alice") == "success"
    assert witness.call("delete_user", "alice") == "failed"
    assert witness.call("delete_users", ["bob"]) == "success"
    assert sandbox.users == {}


def test_its_registration_link_registers_a_device(witness: Witness, caller: Caller) -> None:
    witness.call("add_user", "MY USER 1")
    assert witness.call("has_registered_mobile_device", "MY USER 1") == "no_mobile_device"
    link = witness.call("get_registration_link", user_id="MY USER 1", display_name="MY USER 1@myapp")
    assert caller.send("POST", urlsplit(link).path, {}).status == 200
    assert witness.call("has_registered_mobile_device", "MY USER 1") == "has_mobile_device"
    assert witness.call("has_registered_mobile_device", "nobody") == "failed"


@pytest.mark.parametrize("message", [None, "REGISTER FOR MY APP"])
def test_it_sends_a_registration_message(sandbox: Sandbox, witness: Witness, message: str | None) -> None:
    named = {"user_id": "bob", "display_name": "bob@myapp", "message": message}
    assert witness.call("send_registration_sms", phone_number="+15551234567", **named) is True
    assert witness.call("send_registration_sms", phone_number="+1XXXYYYY", **named) is False
    (sent,) = sandbox.messages
    assert message is None or sent.text.startswith(message)


def test_it_polls_until_the_person_approves_and_ends_the_session(sandbox: Sandbox, witness: Witness) -> None:
    begun = witness.call("authenticate_user", "alice")
    assert (begun["in_progress"], begun["failed"], begun["session_status"]) == (True, False, "pending")
    assert witness.call("get_status") == "pending"
    sandbox.approve("alice")
    assert witness.call("get_status") == "active"
    assert witness.call("state")["active"] is True
    assert witness.call("destroy") is True
    assert sandbox.wait_for_end("alice").status is Status.closed
    assert witness.call("get_status") == "closed"
    assert witness.call("destroy") is False


def test_it_learns_of_a_denial(sandbox: Sandbox, witness: Witness) -> None:
    witness.call("authenticate_user", "alice")
    sandbox.deny("alice")
    assert witness.call("get_status") == "cancelled"
    assert witness.call("state")["failed"] is True


def test_it_learns_why_nothing_was_started(witness: Witness) -> None:
    begun = witness.call("authenticate_user", "bob")
    assert (begun["failed"], begun["failure_reason"]) == (True, "NO_MOBILE_DEVICE")


def test_an_unknown_user_fails_for_it_in_every_call(witness: Witness) -> None:
    assert witness.call("authenticate_user", "nobody") is None
    assert witness.call("delete_user", "nobody") == "failed"
    assert witness.call("get_registration_link", "nobody", None) is None
    assert witness.call("send_registration_sms", "nobody", None, "+15551234567", None) is False
    assert witness.call("has_registered_mobile_device", "nobody") == "failed"


def test_with_a_bad_secret_nothing_works(python: Path, sandbox: Sandbox) -> None:
    with Witness(python, sandbox, application_secret="wrong") as witness:
        assert witness.call("authenticate_user", "alice") is None
        assert witness.call("add_user", "carol") == "failed"
        assert witness.call("get_registration_link", "alice", None) is None
    assert {call.status for call in sandbox.calls} == {401}
