"""What is new for a person is told in their next login, once, to nobody else, and not before they have approved it."""

from __future__ import annotations

from typing import Any

import pytest

from pam_iampass.gateway.base import records
from pam_iampass.gateway.base.records import Kind
from pam_iampass.outcome import PamCode
from tests.gateway.test_joined_host import gateway, host, join
from tests.support.gateway import HostCaller, RunningGateway
from tests.support.sandbox import Sandbox
from tests.support.setting import ME, Setting

__all__ = ["gateway", "host"]
TOKEN = "token-of-alice"


def note(running: RunningGateway, person: str, *acts: str, by: str = "dora") -> None:
    """Write records of acts."""

    async def write(_: Any, connection: Any) -> None:
        for act in acts:
            await records.write(connection, Kind.ACT, person=person, what=act, caller=by)

    running.transaction(write)


def approved(caller: HostCaller, sandbox: Sandbox, **details: str) -> str:
    """What is told with the approval of a login of alice."""
    begun = caller.ask("alice", **details).authentication
    assert "news" not in begun
    assert "news" not in caller.state(begun)
    sandbox.approve(TOKEN)
    assert caller.answer(begun) == "active"
    told = caller.state(begun).get("news", "")
    assert caller.wait(begun, 0).authentication.get("news", "") == told
    return str(told)


@pytest.mark.parametrize(
    "items", [{"service": "sshd", "ssh_auth_info": ""}, {"service": "sudo"}], ids=["sshd", "sudo"]
)
def test_the_next_login_tells_what_is_new_and_the_one_after_does_not(
    host: Setting, gateway: RunningGateway, items: Any
) -> None:
    note(gateway, ME, "passkey_add")
    join(host, gateway)
    told = [host.login(uid="0", ruser=ME, **items) for _ in range(2)]
    assert [each.code for each in told] == [PamCode.SUCCESS] * 2
    shown = [
        [line for line in (*each.said, *each.errors) if "New for you: a passkey (dora, " in line]
        for each in told
    ]
    assert [len(lines) for lines in shown] == [1, 0]


def test_a_login_that_was_not_approved_tells_nothing_and_the_next_one_does(
    caller: HostCaller, gateway_server: RunningGateway, sandbox: Sandbox
) -> None:
    note(gateway_server, "alice", "recovery_new", "phone_new")
    begun = caller.ask("alice").authentication
    sandbox.deny(TOKEN)
    assert caller.answer(begun) == "cancelled"
    assert "news" not in caller.state(begun)
    assert "told" not in str(gateway_server.records[-1])
    told = approved(caller, sandbox)
    assert told.startswith("New for you: a link for a phone (dora, ")
    assert ", recovery codes (dora, " in told
    assert gateway_server.records[-1]["reason"] == f"active; told: {told}"
    assert approved(caller, sandbox) == ""
    note(gateway_server, "alice", "code_for_lost_phone", by="x" * 100)
    assert approved(caller, sandbox).startswith(f"New for you: a recovery code ({'x' * 29}…, ")


def test_a_client_that_is_told_no_news_does_not_use_them_up(
    caller: HostCaller, gateway_server: RunningGateway, sandbox: Sandbox
) -> None:
    """It sends no `request_id`, as the published one."""
    note(gateway_server, "alice", "passkey_add")
    begun = caller.start("alice").authentication
    sandbox.approve(TOKEN)
    assert caller.answer(begun) == "active"
    assert "news" not in caller.state(begun)
    assert gateway_server.records[-1]["reason"] == "active"
    assert approved(caller, sandbox).startswith("New for you: a passkey (dora, ")


def test_a_login_of_somebody_else_tells_nothing_of_the_second_person(
    caller: HostCaller, gateway_server: RunningGateway, sandbox: Sandbox
) -> None:
    note(gateway_server, "alice", "passkey_add")
    note(gateway_server, "bob", "recovery_new")
    assert approved(caller, sandbox, asker="bob") == ""
    assert approved(caller, sandbox).startswith("New for you: a passkey (dora, ")


def test_what_is_a_day_old_or_was_of_who_had_the_name_before_is_told_to_nobody(
    caller: HostCaller, gateway_server: RunningGateway, sandbox: Sandbox
) -> None:
    note(gateway_server, "alice", "passkey_add", "user_add", "enroll")
    assert approved(caller, sandbox) == "", "the first phone of somebody new is no news to them"
    note(gateway_server, "alice", "enroll")
    assert approved(caller, sandbox).startswith("New for you: a link for a phone (dora, "), "on the same day"
    note(gateway_server, "alice", "recovery_new")
    gateway_server.rows("UPDATE record SET at = at - interval '25 hours'")
    assert approved(caller, sandbox) == ""
    note(gateway_server, "alice", "enroll", "bypass")
    assert approved(caller, sandbox).startswith("New for you: a link for a phone (dora, ")
