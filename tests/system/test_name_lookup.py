"""Names as the system's resolver finds them, on a machine whose search list leads to a server that does not respond."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from pam_iampass.client import Cause, LocalFailure, Unavailable
from pam_iampass.client.outage import no_route_to_name_servers
from pam_iampass.client.resolver import Resolver
from tests.client.talk import USER, api_to, polled, seconds, session_on
from tests.support.name_service import ADDRESS, BROKEN, RESOLVER, SIX, UNKNOWN, answering
from tests.support.network import network_without_default_route
from tests.support.scripted_server import scripted_server

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
        assert not caught.value.timed_out


def test_the_dot_is_in_no_header_and_in_no_certificate(search_list: None) -> None:
    with scripted_server(polled("active"), host="::1") as server:
        url = f"https://{SIX}:{server.port}"
        with session_on(server, url=url) as session:
            session.status_url = f"{url}/s"
            assert session.get_status(seconds(60.0), attempts=1).name == "active"
        assert server.requests[0].header("Host") == f"{SIX}:{server.port}"


def test_the_hosts_file_and_the_search_list_complete_what_only_they_can(search_list: None) -> None:
    before = HOSTS.read_text()
    HOSTS.write_text(f"{before}\n127.0.0.9 iampass.internal.example alias.internal.example\n")
    try:
        for name in ("iampass.internal.example", "alias.internal.example"):
            assert [where[0] for _, where in Resolver().addresses(name, 443, 20.0)] == ["127.0.0.9"]
    finally:
        HOSTS.write_text(before)
    assert [where[0] for _, where in Resolver().addresses("localhost", 443, 20.0)][-1] == "127.0.0.1"
    RESOLVER.write_text(RESOLVER.read_text().replace("corp.example ", ""))
    assert [where[0] for _, where in Resolver().addresses("six", 443, 20.0)] == ["::1"]


#: Nothing in the isolated root leads there (RFC 5737).
NOWHERE = "198.51.100.1"


@pytest.mark.parametrize(
    ("lines", "no_route"),
    [
        ([], True),
        (["nameserver 127.0.0.53", "nameserver ::1"], True),
        ([f"nameserver {NOWHERE}", "nameserver 2001:db8::53"], True),
        (["search example", "nameserver", "nameserver dns.example", f"nameserver {NOWHERE} # x"], True),
        ([f"nameserver {NOWHERE}", f"nameserver {ADDRESS}"], False),
        (["nameserver 127.0.0.53", f"nameserver {NOWHERE}"], False),
        ([*[f"nameserver {NOWHERE}"] * 3, f"nameserver {ADDRESS}"], True),
    ],
)
def test_no_route_to_any_name_server_is_distinguished_from_a_name_server_that_does_not_respond(
    search_list: None, tmp_path: Path, lines: list[str], no_route: bool
) -> None:
    resolv_conf = tmp_path / "resolv.conf"
    resolv_conf.write_text("".join(f"{line}\n" for line in lines))
    assert no_route_to_name_servers(str(resolv_conf)) is no_route


def test_without_a_file_of_name_servers_this_machine_is_its_own(tmp_path: Path) -> None:
    assert no_route_to_name_servers(str(tmp_path / "missing"))


def test_a_name_service_that_fails_may_be_the_work_of_a_user_unless_there_is_no_route(
    search_list: None,
) -> None:
    with scripted_server() as server, api_to(server, url=f"https://{BROKEN}") as api:
        for line, cause in (
            (f"nameserver {ADDRESS}", Cause.ANY_USER),
            (f"nameserver {NOWHERE}", Cause.FAR_SIDE),
        ):
            RESOLVER.write_text(f"{line}\nsearch .\n")
            with pytest.raises(Unavailable) as caught:
                api.authenticate_user(USER, deadline=seconds(60.0), attempts=1)
            assert caught.value.cause is cause


def test_what_keeps_this_machine_from_finding_out_is_no_outage(search_list: None, tmp_path: Path) -> None:
    with pytest.raises(IsADirectoryError):
        no_route_to_name_servers(str(tmp_path))
    resolv_conf = tmp_path / "resolv.conf"
    resolv_conf.write_text(f"nameserver {NOWHERE}\nnameserver fe80::1\n")  # link-local, on no interface
    with pytest.raises(OSError, match="Invalid argument"):
        no_route_to_name_servers(str(resolv_conf))
    RESOLVER.write_text(resolv_conf.read_text())
    with (
        scripted_server() as server,
        api_to(server, url=f"https://{BROKEN}") as api,
        pytest.raises(LocalFailure, match="Invalid argument"),
    ):
        api.authenticate_user(USER, deadline=seconds(60.0), attempts=1)


@pytest.fixture
def no_ipv6() -> Iterator[None]:
    """IPv6 is switched off."""
    switch = Path("/proc/sys/net/ipv6/conf/all/disable_ipv6")
    switch.write_text("1\n")
    yield
    switch.write_text("0\n")


def test_ipv6_that_is_switched_off_is_no_lack_of_ports(no_ipv6: None, tmp_path: Path) -> None:
    assert no_route_to_name_servers(str(tmp_path / "missing"))
    with scripted_server() as server, api_to(server, url="https://[2001:db8::1]") as api:
        with pytest.raises(Unavailable) as caught:
            api.authenticate_user(USER, deadline=seconds(60.0), attempts=1)
        assert caught.value.cause is Cause.FAR_SIDE


def test_with_name_servers_of_its_own_a_machine_is_cut_off_only_without_any_network(tmp_path: Path) -> None:
    missing = str(tmp_path / "missing")
    with network_without_default_route():
        assert not no_route_to_name_servers(missing)
    assert no_route_to_name_servers(missing)
