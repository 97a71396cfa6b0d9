"""CSV files of users to enroll: what is read, and every error in them."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pam_iampass.cli import enrollment
from pam_iampass.cli.enrollment import EnrollmentRequest, administrators
from pam_iampass.config.value_types import mail_address
from pam_iampass.errors import ConfigurationError
from tests.support.folders import put

NUMBER = "+15551234567"
read_requests = partial(enrollment.read_requests, trusted={os.getuid()})


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "team.csv"


def faults(
    file: Path, content: str | bytes, mode: int = 0o644, columns: Sequence[str] = enrollment.COLUMNS
) -> list[str]:
    """What is wrong, without the path in front."""
    put(file, content, mode)
    with pytest.raises(ConfigurationError) as caught:
        read_requests(file, columns=columns)
    return [str(problem).replace(str(file), "file") for problem in caught.value.problems]


def test_all_columns_are_read(file: Path) -> None:
    put(file, f'user,token,phone,display_name\nalice,7f3c,{NUMBER},"Alice, A."\nbob,,,\n')
    assert read_requests(file) == [
        EnrollmentRequest("alice", "7f3c", NUMBER, "Alice, A.", 2),
        EnrollmentRequest("bob", None, None, None, 3),
    ]


@pytest.mark.parametrize(
    "content",
    [
        f"display_name,user,phone\nÄ,alice,{NUMBER}\n",
        f"\ufeffdisplay_name,user,phone\r\nÄ,alice,{NUMBER}\r\n",
        "Display Name ; User; PHONE\nÄ; alice ;+1 (555) 123-4567",
        f'"display_name","user","phone"\n\n,,\n"Ä","alice","{NUMBER}"\n\n',
    ],
)
def test_what_spreadsheets_write_is_read(file: Path, content: str) -> None:
    put(file, content)
    (read,) = read_requests(file)
    assert (read.user, read.phone_number, read.display_name) == ("alice", NUMBER, "Ä")


def test_a_line_is_the_one_that_an_editor_shows(file: Path) -> None:
    put(file, 'user,display_name\n\n"alice",A\n\nbob,B\n')
    assert [each.line for each in read_requests(file)] == [3, 5]


def test_a_token_is_text_as_it_stands(file: Path) -> None:
    put(file, "user,token\nno,0123\nnull,1e3\n")
    assert [(each.user, each.token) for each in read_requests(file)] == [("no", "0123"), ("null", "1e3")]


def test_everything_that_is_wrong_is_reported_by_its_line(file: Path) -> None:
    content = "user,token,phone,display_name\na/b,..,5,\nalice,,,\n,,+1,x\nalice,a,b\nalice,,,\x1b[2J\n"
    assert faults(file, content) == [
        "file:2: user: contains a slash",
        "file:2: token: would change the URL of the request",
        'file:2: phone: "5" is not a phone number with + and country code, such as +1 555 123 4567',
        "file:4: user: is empty",
        'file:4: phone: "+1" is not a phone number with + and country code, such as +1 555 123 4567',
        "file:5: has 3 fields, but the first line has 4",
        'file:6: user: "alice" is already in line 3',
        'file:6: display_name: "\\x1b[2J" contains invisible characters',
    ]


@pytest.mark.parametrize(
    ("content", "what"),
    [
        ("", "file: is empty"),
        ("token\nx\n", "file:1: has no column user"),
        ("user,tokn\nalice,x\n", 'file:1: "tokn" is not a known column'),
        ("user,user\nalice,bob\n", "file:1: names a column twice"),
        ('user\n"ali"ce\n', "file:2: is not CSV: ',' expected after '\"'"),
        (b"user\nalice\n\xff\n", "file:3: is not UTF-8"),
        ("user\n" + "a" * 200_000, "file:2: is not CSV: field larger than field limit (131072)"),
    ],
)
def test_a_file_of_another_form_is_reported(file: Path, content: str | bytes, what: str) -> None:
    assert faults(file, content)[0] == what


@pytest.mark.parametrize("mode", [0o664, 0o646, 0o666])
def test_a_csv_file_that_others_can_write_is_refused(file: Path, mode: int) -> None:
    assert faults(file, "user\nalice\n", mode) == ["file: is writable by other users"]


def test_a_file_of_another_user_is_refused(file: Path) -> None:
    put(file, "user\nalice\n")
    with pytest.raises(ConfigurationError, match="belongs to another user"):
        enrollment.read_requests(file, {os.getuid() + 1})
    assert [each.user for each in enrollment.read_requests(file, {1, os.getuid()})] == ["alice"]


@pytest.mark.timeout(20)
@pytest.mark.needs_root  # to whom others belong
def test_a_pipe_of_another_user_is_refused_without_waiting_for_a_writer(file: Path) -> None:
    os.mkfifo(file, 0o600)
    os.chown(file, 1, 1)
    with pytest.raises(ConfigurationError, match="belongs to another user"):
        read_requests(file)


def test_a_device_is_not_opened() -> None:
    with pytest.raises(ConfigurationError, match="is a device"):
        enrollment.read_requests(Path("/dev/null"))


def test_what_another_program_writes_is_read_from_a_pipe(file: Path) -> None:
    reading, writing = os.pipe()
    os.write(writing, b"user\nalice\n")
    os.close(writing)
    try:
        assert [each.user for each in read_requests(Path(f"/dev/fd/{reading}"))] == ["alice"]
    finally:
        os.close(reading)


def test_the_user_who_became_root_may_bring_the_file(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SUDO_UID", "1234")
    assert {0, 1234} <= administrators()
    for nonsense in ("", "x", "-1", "１"):
        monkeypatch.setenv("SUDO_UID", nonsense)
        assert all(uid >= 0 for uid in administrators())
        assert 1234 not in administrators()


def test_a_file_without_end_is_refused(file: Path) -> None:
    assert faults(file, b"user\n" + b"a" * 17 * 1024 * 1024) == ["file: is larger than 16 MiB"]


def test_a_token_is_in_no_error(file: Path) -> None:
    assert not any("s3cr" in fault for fault in faults(file, "user,token\nalice,s3cr\x01t\n"))


@given(st.binary(max_size=200))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
def test_any_file_is_read_or_refused_with_its_lines(file: Path, content: bytes) -> None:
    put(file, b"user,token,phone,display_name\n" + content)
    try:
        users = [each.user for each in read_requests(file)]
    except ConfigurationError as error:
        told = error.diagnostics().splitlines()
    else:
        told = [*users, *users]
        assert len(set(users)) == len(users)
    assert all(line.isprintable() for line in told)


@pytest.mark.parametrize(
    "address",
    [
        "alice@example.com",
        "Alice.O'Brien+iampass@mail-1.example.co.uk",
        "a_b=c~d-e@xn--bcher-kva.example",
        "root@localhost",
        f"{'a' * 64}@example.com",
    ],
)
def test_a_mail_address_is_kept_as_it_stands(file: Path, address: str) -> None:
    put(file, f"user,mail\nalice,{address}\nbob,\n")
    assert [each.mail for each in read_requests(file, columns=("user", "mail"))] == [address, None]


@pytest.mark.parametrize(
    "address",
    [
        "alice",
        "@example.com",
        "alice@",
        "alice@@example.com",
        "a@x.example, b@x.example",
        "a@x.example b@x.example",
        "a@x.example;b@x.example",
        "Alice <a@x.example>",
        "a(comment)@x.example",
        '"a b"@x.example',
        '""alice""@x.example',
        "a@x.example\r\nBcc: b@x.example",
        "a@x.example\nBcc: b@x.example",
        "a@x.example\0",
        "a\t@x.example",
        "-oQ@x.example",
        "-bs",
        "|/bin/sh@x.example",
        "/etc/passwd@x.example",
        ":include:/etc/shadow@x.example",
        "b%y.example@x.example",
        "y.example!b@x.example",
        "`id`@x.example",
        "$(id)@x.example",
        "a\\@x.example",
        ".a@x.example",
        "a.@x.example",
        "a..b@x.example",
        "a@.example",
        "a@x..example",
        "a@x.example.",
        "a@-x.example",
        "a@x-.example",
        "a@[192.0.2.1]",
        "ä@x.example",
        "a@bücher.example",
        "a@x.example\u202e",
        "\uff41@x.example",
        f"{'a' * 65}@x.example",
        f"a@{'b' * 64}.example",
        f"a@{'.'.join(['b' * 60] * 5)}",
        f"a@{'x.' * 150}example",
    ],
)
def test_what_is_not_one_plain_address_is_an_error_of_its_line(file: Path, address: str) -> None:
    field = '"' + address.replace('"', '""') + '"'
    content = f"user,mail\nbob,b@x.example\nalice,{field}\n"
    (fault,) = faults(file, content.encode(), columns=("user", "mail"))
    refused_by_csv = "\0" in address and sys.version_info < (3, 11)
    assert re.match("file:3: is not CSV: line contains NUL" if refused_by_csv else "file:[34]: mail: ", fault)


@given(st.text(max_size=300))
def test_no_address_has_what_a_mail_program_may_take_for_something_else(text: str) -> None:
    for address in (text, f"a@{text}", f"{text}@x.example"):
        try:
            assert mail_address(address) == address
        except ValueError:
            continue
        assert re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9_+='~.-]*@[A-Za-z0-9.-]+", address)
        assert len(address) <= 254
