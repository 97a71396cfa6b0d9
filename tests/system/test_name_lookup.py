"""Names as the system's resolver finds them, on a machine whose search list leads to a server that does not respond."""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from pam_iampass.client import LocalFailure, Unavailable
from pam_iampass.client.connection import Network, look_up
from pam_iampass.client.origin import Origin
from tests.client.talk import USER, api_to, polled, seconds, session_on, started
from tests.support.agent import AT_REST, RunningAgent
from tests.support.in_time import BUSY
from tests.support.installation import ETC, Installation
from tests.support.journald import Journald
from tests.support.name_service import BROKEN, RESOLVER, SIX, UNKNOWN, answering
from tests.support.sandbox import Sandbox
from tests.support.scripted_server import answer, scripted_server
from tests.support.world import wait_until

HOSTS = Path("/etc/hosts")


@pytest.fixture
def search_list() -> Iterator[None]:
    """Any name below corp.example gets no response; `example` is searched, too."""
    assert os.environ.get("MACHINE_COPY"), (
        "run this through `make test`: it changes the machine that it runs on"
    )
    with answering():
        lines = [line for line in RESOLVER.read_text().splitlines() if not line.startswith("search")]
        RESOLVER.write_text("\n".join([*lines, "search corp.example example", ""]))
        yield


def test_an_unknown_name_is_a_fault_of_this_machine_whatever_the_search_list(search_list: None) -> None:
    with scripted_server() as server, api_to(server, url=f"https://{UNKNOWN}") as api:
        began = time.monotonic()
        with pytest.raises(LocalFailure, match=r"cannot connect: Name or service not known"):
            api.authenticate_user(USER, deadline=seconds(60.0), attempts=1)
        assert time.monotonic() - began < 25  # one question to a search domain would take 28 s


def test_a_name_service_that_fails_is_an_outage_and_not_a_time_out(search_list: None) -> None:
    with scripted_server() as server, api_to(server, url=f"https://{BROKEN}") as api:
        with pytest.raises(Unavailable, match="Temporary failure in name resolution") as caught:
            api.authenticate_user(USER, deadline=seconds(60.0), attempts=1)
        assert (caught.value.timed_out, caught.value.outage) == (False, True)


def test_the_dot_is_in_no_header_and_in_no_certificate(search_list: None) -> None:
    with scripted_server(polled("active"), host="::1") as server:
        url = f"https://{SIX}:{server.port}"
        with session_on(server, url=url) as session:
            session.status_url = f"{url}/s"
            assert session.get_status(seconds(60.0), attempts=1).name == "active"
        assert server.requests[0].header("Host") == f"{SIX}:{server.port}"


def addresses(name: str) -> list[str]:
    return [each[4][0] for each in look_up(Origin("https", name, 443), Network(), seconds(60.0))]


def test_the_hosts_file_and_the_search_list_complete_what_only_they_can(search_list: None) -> None:
    before = HOSTS.read_text()
    HOSTS.write_text(f"{before}\n127.0.0.9 iampass.internal.example alias.internal.example\n")
    try:
        for name in ("iampass.internal.example", "alias.internal.example"):
            assert addresses(name) == ["127.0.0.9"]
    finally:
        HOSTS.write_text(before)
    assert addresses("localhost")[-1] == "127.0.0.1"
    RESOLVER.write_text(RESOLVER.read_text().replace("corp.example ", ""))
    assert addresses("six") == ["::1"]


@pytest.fixture
def no_ipv6() -> Iterator[None]:
    """IPv6 is switched off."""
    switch = Path("/proc/sys/net/ipv6/conf/all/disable_ipv6")
    switch.write_text("1\n")
    yield
    switch.write_text("0\n")


def test_without_ipv6_a_failed_look_up_is_an_outage_too(search_list: None, no_ipv6: None) -> None:
    with scripted_server() as server, api_to(server, url=f"https://{BROKEN}") as api:
        with pytest.raises(Unavailable) as caught:
            api.authenticate_user(USER, deadline=seconds(60.0), attempts=1)
        assert caught.value.outage


def test_an_address_of_a_family_that_is_switched_off_is_no_outage(no_ipv6: None) -> None:
    with (
        scripted_server() as server,
        api_to(server, url="https://[2001:db8::1]") as api,
        pytest.raises(LocalFailure),
    ):
        api.authenticate_user(USER, deadline=seconds(60.0), attempts=1)


SERVICE = Path("/etc/pam.d/names")


def enters() -> bool:
    command = ["pamtester", SERVICE.name, "root", "authenticate"]
    return subprocess.run(command, check=False, capture_output=True, stdin=subprocess.DEVNULL).returncode == 0


def test_a_name_server_that_holds_lookups_for_ever_holds_no_login_and_none_once_it_is_well_again(
    machine: Installation, sandbox: Sandbox, journald: Journald, agent: RunningAgent
) -> None:
    """It answers that the answer needs TCP, and says nothing there. glibc waits for it without a limit."""
    SERVICE.write_text("auth required pam_iampass.so\n")
    machine.configure(sandbox, timeout="60s")
    machine.forget()
    machine.write_users("root: t-root\n")
    with answering() as names, scripted_server(host="::1") as server:
        url = f"https://{SIX}:{server.port}"
        authority = ETC / "names.pem"
        shutil.copyfile(server.ca_file, authority)
        machine.change(server=url, ca_file=str(authority))
        names.truncates = True
        began = time.monotonic()
        assert not enters()
        assert time.monotonic() - began < 5.0 + BUSY
        names.truncates = False
        server.add(
            started(server, status_url=f"{url}/status", logout_url=f"{url}/logout"),
            polled("active"),
            answer(200, {"status": True}),
        )
        assert enters()
        threads = Path(f"/proc/{agent.pid()}/task")
        wait_until(lambda: len(os.listdir(threads)) == AT_REST + 1, "not only the lookup hangs")
    SERVICE.unlink()
    wait_until(lambda: len(os.listdir(threads)) == AT_REST, "the lookup goes on without a name server")
