"""Logins on a host that has joined a real gateway: the module as the agent runs it, PostgreSQL, and a sandbox."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest

from pam_iampass.gateway.hosts import HostStatus
from pam_iampass.outcome import PamCode
from pam_iampass.system.boot import machine_digest
from tests.gateway.test_nothing_sent import closed_port
from tests.support.gateway import HOST, HOST_SECRET, RunningGateway, settings_for
from tests.support.postgres import Postgres
from tests.support.sandbox import Sandbox
from tests.support.sessions import keeping
from tests.support.setting import ME, Setting
from tests.support.world import wait_until


@pytest.fixture
def host(own_folder: Path, sandbox: Sandbox) -> Iterator[Setting]:
    """A machine whose user has a phone, and is in no table."""
    sandbox.add_user("token-at-the-gateway")
    sandbox.auto, sandbox.delay = "approve", 0.05
    setting = Setting(own_folder, sandbox)
    setting.write("users.yaml", "")
    yield setting
    setting.state.database.close()


def join(host: Setting, *gateways: RunningGateway | str, **settings: str) -> dict[str, str]:
    """Write the settings of a host that has joined these; returns them."""
    running = next(each for each in gateways if isinstance(each, RunningGateway))
    urls = [each if isinstance(each, str) else each.url for each in gateways]
    host.write("application-secret", HOST_SECRET)
    host.write("ca.pem", running.ca_file.read_text())
    joined = {"application_id": HOST, "gateways": f"[{', '.join(urls)}]", "unavailable": "ignore", **settings}
    host.configure(**joined)
    return joined


@pytest.fixture
def gateway(gateway_server: RunningGateway) -> RunningGateway:
    gateway_server.add_person(ME, "token-at-the-gateway")
    return gateway_server


def outcome(host: Setting) -> tuple[str, str, str]:
    """Outcome, result and reason of the last login."""
    last = [fields for fields in host.records.fields if "IAMPASS_OUTCOME" in fields][-1]
    return last["IAMPASS_OUTCOME"], last["IAMPASS_RESULT"], last["IAMPASS_REASON"]


def test_a_login_is_approved_by_name_and_the_gateway_knows_of_it(
    host: Setting, gateway: RunningGateway
) -> None:
    join(host, gateway)
    assert host.login(rhost="192.0.2.7").code == PamCode.SUCCESS
    assert [session.user for session in host.sandbox.sessions] == ["token-at-the-gateway"]
    host.wait_for_ends()
    record = gateway.records[0]
    assert (record["outcome"], record["person"], record["service"]) == ("approved", ME, "test")
    assert record["remote"] == "192.0.2.7"
    (row,) = gateway.rows("SELECT machine FROM host")
    assert row["machine"] == (machine_digest() or None)


def test_a_refusal_is_one_request(host: Setting, gateway: RunningGateway) -> None:
    host.sandbox.auto = "deny"
    join(host, gateway)
    assert host.login().errors == ["Denied on your phone."]
    assert len(host.sandbox.sessions) == 1


def test_a_gateway_that_does_not_run_is_passed_by(host: Setting, gateway: RunningGateway) -> None:
    join(host, f"https://127.0.0.1:{closed_port()}", gateway)
    assert host.login().code == PamCode.SUCCESS


def test_the_end_on_the_phone_ends_what_is_covered(host: Setting, gateway: RunningGateway) -> None:
    with keeping(host, **join(host, gateway)) as agent:
        kept, login = agent.log_in()
        assert agent.login(service="sudo", audit_session="42").code == PamCode.IGNORE
        assert agent.outcome()["IAMPASS_OUTCOME"] == "covered"
        host.sandbox.close("token-at-the-gateway")
        wait_until(lambda: login.over, "the login goes on", 20.0)
        agent.wait_until_forgotten(kept)


@pytest.mark.parametrize(
    ("status", "reason"),
    [(HostStatus.SUSPENDED, "HOST_SUSPENDED"), (HostStatus.WAITING, "HOST_NOT_ADMITTED")],
)
def test_a_host_that_is_not_served_denies_and_says_why(
    host: Setting, gateway: RunningGateway, status: HostStatus, reason: str
) -> None:
    gateway.change_host(status=status)
    join(host, gateway)
    assert host.login(service="sshd", uid="0").code == PamCode.ABORT
    assert outcome(host)[:2] == ("misconfigured", "denied")
    assert outcome(host)[2].startswith(f"{reason}, says the gateway")
    assert not host.sandbox.sessions


def test_a_login_that_waits_when_its_host_is_suspended_is_denied_and_says_why(
    host: Setting, gateway: RunningGateway
) -> None:
    host.sandbox.auto = "ignore"
    join(host, gateway)
    with ThreadPoolExecutor() as pool:
        login = pool.submit(host.login)
        host.sandbox.wait_for_request("token-at-the-gateway")
        gateway.change_host(status=HostStatus.SUSPENDED)
        assert login.result().errors == [
            "The gateway takes no requests from this machine. Please ask your administrator."
        ]
    assert outcome(host)[:2] == ("misconfigured", "denied")
    assert outcome(host)[2].startswith("HOST_SUSPENDED, says the gateway")


def test_a_host_that_was_removed_denies_and_says_so(host: Setting, gateway: RunningGateway) -> None:
    join(host, gateway, application_id="h-cccccccccccc")
    assert host.login(service="sshd", uid="0").code == PamCode.ABORT
    assert outcome(host)[:2] == ("misconfigured", "denied")
    assert outcome(host)[2].endswith("the gateway does not know this host, which must join it again")


def test_who_is_not_known_there_is_denied(host: Setting, gateway_server: RunningGateway) -> None:
    join(host, gateway_server, unlisted_users="ignore")
    assert host.login(service="sshd", uid="0").code == PamCode.ABORT
    assert outcome(host)[:2] == ("unlisted", "denied")


@pytest.mark.parametrize(("service", "result"), [("sshd", "ignored"), ("sudo", "denied")])
def test_while_iampass_is_away_it_is_an_outage_for_sshd(
    host: Setting, conninfo: str, sandbox: Sandbox, tmp_path: Path, service: str, result: str
) -> None:
    away = replace(settings_for(conninfo, sandbox, tmp_path), server=f"https://127.0.0.1:{closed_port()}")
    with RunningGateway(away) as gateway:
        gateway.populate()
        gateway.add_person(ME, "token-at-the-gateway")
        join(host, gateway)
        host.login(service=service, uid="0", ruser=ME)
        assert outcome(host)[:2] == ("unavailable", result)


def test_while_the_database_is_away_too(host: Setting, gateway: RunningGateway, postgres: Postgres) -> None:
    join(host, gateway)
    postgres.stop()
    try:
        assert host.login(service="sshd", uid="0").code == PamCode.IGNORE
    finally:
        postgres.start()
    assert outcome(host)[:2] == ("unavailable", "ignored")
    assert host.login().code == PamCode.SUCCESS
