"""Which logins check makes up for the Match blocks of sshd's configuration."""

from __future__ import annotations

import grp
import ipaddress
import os
import subprocess
from pathlib import Path

import pytest

from pam_iampass.check.sshd_match import MatchBlock, SshdConfiguration, SshdLogin, Witnesses
from pam_iampass.errors import UntrustedFile

FIRST = "192.0.2.1"


def read(folder: Path, text: str, **included: str) -> SshdConfiguration:
    for name, lines in included.items():
        (folder / f"{name}.conf").write_text(lines)
    (folder / "sshd_config").write_text(text.replace("HERE", str(folder)))
    return SshdConfiguration.read(folder / "sshd_config")


def witness(folder: Path, criteria: str, *users: str, only: str | None = None) -> list[str] | None:
    """The connections that are made up for a block."""
    (block,) = read(folder, f"Match {criteria}\n").blocks
    found = Witnesses(users, FIRST, only).connections(block)
    return None if found is None else [str(one) for one in found]


def connection(user: str = "nobody", **words: str) -> str:
    usual = {"host": words.get("addr", FIRST), "addr": FIRST, "laddr": "127.0.0.1", "lport": "22"}
    return ",".join([f"user={user}", *(f"{name}={word}" for name, word in {**usual, **words}.items())])


@pytest.mark.parametrize(
    ("criteria", "expected"),
    [
        ("LocalPort 2222", [connection(lport="2222")]),
        ("LocalPort=2222", [connection(lport="2222")]),
        ("Host *.example.com", [connection(host="host.example.com")]),
        ("Address 198.51.100.0/24,203.0.113.1", [connection(addr="198.51.100.255")]),
        ("Address *,!192.0.2.0/24", [connection(addr="127.0.0.1")]),
        ("Address !198.51.100.0/24,*", [connection()]),
        ("Address 10.0.*", [connection(addr="10.0.1.1")]),
        ("LocalAddress 203.0.113.0/24 User bin", [connection("bin", laddr="203.0.113.255")]),
        ("RDomain blue", [connection(rdomain="blue")]),
        ("Version OpenSSH_*", [connection()]),
        ("User no-such-us*", [connection("no-such-us")]),
        ("User=da?mon,no-such-user", [connection("daemon")]),
        ("Invalid-User", []),
        ("Address 192.0.2.0/24,!192.0.2.0/24", None),
        ("SomethingNew x", None),
        ("Group no-such-group", None),
    ],
)
def test_a_connection_that_matches_is_made_up(
    tmp_path: Path, criteria: str, expected: list[str] | None
) -> None:
    assert witness(tmp_path, criteria) == expected


def test_an_address_outside_of_exempt_networks_is_taken_if_there_is_one(tmp_path: Path) -> None:
    (block,) = read(tmp_path, "Match Address 10.0.0.0/8,*\n").blocks
    for spared, expected in (("192.0.2.0/24", "127.0.0.1"), ("10.0.0.0/16", FIRST)):
        (found,) = Witnesses((), FIRST, spared=[ipaddress.ip_network(spared)]).connections(block) or []
        assert found.address == expected


def test_users_are_those_who_match_the_listed_ones_first(tmp_path: Path) -> None:
    found = witness(tmp_path, "User b*", "bin") or []
    assert found[0] == connection("bin")
    assert connection("backup") in found
    found = witness(tmp_path, "User d*,!daemon", "daemon", "dave") or []
    assert found[0] == connection("dave")
    assert connection("daemon") not in found
    assert witness(tmp_path, "User b*", only="bin") == [connection("bin")]
    assert witness(tmp_path, "User b*", only="alice") == []
    assert witness(tmp_path, "LocalPort 22", only="alice") == [connection("alice")]


def test_members_of_a_group_are_found_and_those_of_a_negated_one_are_not(tmp_path: Path) -> None:
    name = grp.getgrgid(1).gr_name
    assert witness(tmp_path, f"Group {name}") == [connection(name)]
    found = witness(tmp_path, f"Group *,!{name}")
    assert found is not None
    assert connection("root") in found
    assert connection(name) not in found


def test_included_files_are_read_and_a_block_holds_for_what_it_includes(tmp_path: Path) -> None:
    found = read(
        tmp_path,
        "Include HERE/o*.conf\nMatch User bob\n  Include HERE/inner.conf\nMatch all\n  X11Forwarding no\n",
        outer="Match Group wheel\n  PAMServiceName su\n",
        inner="AuthenticationMethods publickey\nMatch LocalPort 2222\n  PAMServiceName su\n",
    )
    assert [file.name for file in found.files] == ["sshd_config", "outer.conf", "inner.conf"]
    assert [(str(block), block.counts) for block in found.blocks] == [
        ("Match group wheel", True),
        ("Match user bob", True),
        ("Match user bob localport 2222", True),
        ("Match all", False),
    ]


@pytest.mark.parametrize("whose", ["sshd_config", "inner.conf"])
@pytest.mark.parametrize("what", ["writable", "a pipe", "a link"])
def test_a_configuration_that_others_can_write_is_not_read_where_it_must_be_trusted(
    trusted_folder: Path, whose: str, what: str
) -> None:
    read(trusted_folder, "Include HERE/inner.conf\n", inner="UsePAM yes\n")
    config, file = trusted_folder / "sshd_config", trusted_folder / whose
    assert len(SshdConfiguration.read(config, trusted=True).files) == 2
    if what == "writable":
        file.chmod(0o666)
    else:
        file.unlink()
        os.mkfifo(file) if what == "a pipe" else file.symlink_to("/etc/shadow")
    with pytest.raises(UntrustedFile, match=whose):
        SshdConfiguration.read(config, trusted=True)


@pytest.fixture
def host_key(tmp_path: Path) -> Path:
    key = tmp_path / "key"
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", key], check=True)
    return key


@pytest.mark.needs_root  # sshd -T reads the keys of the machine
@pytest.mark.needs_program("sshd")
@pytest.mark.parametrize(
    "criteria",
    [
        *("User b*", "User *,!root", "Group daem*", "Group *,!root", "LocalPort 2222", "Host *.example.com"),
        *(
            "Address *,!192.0.2.0/24",
            "LocalAddress 203.0.113.0/24",
            "RDomain blue",
            "User=bin Address ::1",
            "Address 10.0.*",
        ),
    ],
)
def test_sshd_agrees_that_what_is_made_up_matches(tmp_path: Path, host_key: Path, criteria: str) -> None:
    Path("/run/sshd").mkdir(exist_ok=True)
    (tmp_path / "included.conf").write_text(f"Match {criteria}\n    PermitRootLogin forced-commands-only\n")
    found = read(tmp_path, f"HostKey {host_key}\nPermitRootLogin no\nInclude HERE/included.conf\n")
    options = ("-f", str(tmp_path / "sshd_config"))
    logins = list(Witnesses((), FIRST, options=options).logins(found))
    assert logins
    for login in logins:
        assert isinstance(login, SshdLogin)
        assert login.settings.root_login == "forced-commands-only"


def test_a_block_that_cannot_be_evaluated_is_handed_back(tmp_path: Path) -> None:
    found = read(tmp_path, "Match Group no-such-group\n  PAMServiceName su\n  X11Forwarding no\n")
    (block,) = Witnesses((), FIRST).logins(found)
    assert isinstance(block, MatchBlock)
    assert block.place == f"{tmp_path}/sshd_config:1"
    assert list(Witnesses((), FIRST).logins(read(tmp_path, "Match User b\n  X11Forwarding no\n"))) == []
