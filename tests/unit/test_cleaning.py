"""Text that others choose (the server's reason, host, user, service) on its way to the terminal and the journal."""

from __future__ import annotations

import json
from typing import Any

import pytest

from pam_iampass.text import clean
from tests.support.door import Told
from tests.support.sandbox import Junk, SessionState
from tests.support.setting import Setting

#: What could play with a terminal or a log, each once.
HOSTILE = {
    "a second line": "x\noutcome=approved result=success user=root",
    "carriage return": "x\rApproved on your phone.",
    "ESC": "\x1b[2J\x1b[1;32mApproved on your phone.",
    "C1": "\x9b2J\x85next line\x90",
    "bell, backspace, DEL": "\x07\b\x7f",
    "bidi": "\u202edevorppA\u202c\u2066\u2069\u200f",
    "Unicode line ends": "x\u2028y\u2029z",
    "invisible": "ro\u200bot\ufeff",
    "no UTF-8": "\udcff\udc9b",
    "NUL": "a\0b",
    "a quote that ends a word": 'x" outcome=approved result=success user="root',
    "percent": "%s%n%x",
    "markup": "[bold red]x[/] {user}",
    "long": "a" * 5000,
}


@pytest.fixture(params=HOSTILE.values(), ids=list(HOSTILE))
def hostile(request: pytest.FixtureRequest) -> str:
    text: str = request.param
    return text


def assert_harmless(told: Told, world: Setting) -> None:
    """One login, one record, one line each, and nothing in them that does not print."""
    for line in (*told.said, *told.errors, *told.asked):
        assert line.isprintable(), ascii(line)
        assert len(line) < 500
    record = world.only_record()
    for name, value in record.items():
        assert value.isprintable(), (name, ascii(value))
    assert words(record["MESSAGE"])[0] == f"outcome={record['IAMPASS_OUTCOME']}"
    assert [word for word in words(record["MESSAGE"]) if word.startswith("outcome=")] == words(
        record["MESSAGE"]
    )[:1]


def words(line: str) -> list[str]:
    """The words of a line as a reader of logs takes it apart: what stands in quotes is one."""
    found, quoted, escaped = [""], False, False
    for character in line:
        if character == " " and not quoted:
            found.append("")
            continue
        found[-1] += character
        quoted ^= character == '"' and not escaped
        escaped = character == "\\" and not escaped
    return found


def test_the_servers_reason(world: Setting, hostile: str) -> None:
    body = json.dumps({"authentication_status": {"authenticated": False, "reason": hostile}}).encode()
    world.sandbox.misbehave("start", Junk(body, "application/json", acts=False), times=None)
    told = world.login()
    assert_harmless(told, world)
    if "\udcff" not in hostile:  # a server cannot even say that
        assert len(told.errors) == 1
        assert told.errors[0].startswith("IAMPASS did not ask your phone: ")


def test_a_status_that_nobody_knows(world: Setting, hostile: str) -> None:
    world.sandbox.misbehave("poll", SessionState(hostile), times=None)
    assert_harmless(world.login(), world)


def test_what_the_user_is_called(world: Setting, hostile: str) -> None:
    given = hostile.replace("\0", "")  # no application can say a NUL
    assert_harmless(world.login(user=given), world)
    assert world.only_record()["IAMPASS_USER"] == clean(given)


@pytest.mark.parametrize("item", ["rhost", "service", "tty", "ruser"])
def test_what_else_the_application_says(world: Setting, item: str) -> None:
    world.configure(server="https://127.0.0.1:1")
    given = " ".join(text for name, text in HOSTILE.items() if name != "long").replace("\0", "")
    items: dict[str, Any] = {item: given}
    assert_harmless(world.login(**items), world)
    if item in ("rhost", "service"):
        assert world.only_record()[f"IAMPASS_{item.upper()}"] == clean(given)


@pytest.mark.parametrize("argument", ["debug=\n", "config=/\x1b[2J", "x\u202e"])
def test_what_stands_on_the_pam_line(world: Setting, argument: str) -> None:
    assert_harmless(world.login(argument), world)
