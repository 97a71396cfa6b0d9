"""Names, terminals and hosts with odd characters, where an application lets them through (pamtester does)."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.support.deadline import PATIENCE
from tests.support.installation import Installation
from tests.support.setuid.stage import Guest, Phone, Stage

SERVICE = Path("/etc/pam.d/phone-only")

ODD = {
    "a line break, and a record of one's own": "x\noutcome=approved result=success user=root",
    "a carriage return": "x\rroot",
    "escape sequences": "\x1b[2J\x1b]0;title\x07\x9b31m",
    "text that runs backwards": "\u202eroot\u202c\u2066",
    "what is not UTF-8": "\udcff\udcfe",
    "a path": "../../../../etc/shadow",
    "dots": "..",
    "an option": "-froot",
    "formats": "%n%n%s%s%999999d",
    "quotes and a shell's signs": "'\"`$(id)`;|&",
    "spaces": " root ",
    "a URL": "https://evil/?x#y",
    "a separator of items": "root=ruser=root",
    "4,000 characters": "a" * 4000,
    "letters beyond ASCII": "rооt",
}


@pytest.fixture(autouse=True, scope="module")
def service(sudo_and_su: Installation) -> Iterator[None]:
    """A PAM service that asks the phone and nothing else. Nobody's time runs out, however many log in at once."""
    SERVICE.write_text("auth required pam_iampass.so\n")
    yield
    SERVICE.unlink()


def pamtester(user: str, **items: str) -> subprocess.CompletedProcess[bytes]:
    """A login through an application that takes any text."""
    options = [word for name, value in items.items() for word in ("-I", f"{name}={value}")]
    command = ["pamtester", *options, "--", SERVICE.name, user, "authenticate"]
    return subprocess.run(command, check=False, capture_output=True, timeout=PATIENCE)


def is_clean(text: str) -> bool:
    """Whether a terminal can show it as one line as it is."""
    return text.isprintable()


@pytest.mark.parametrize("name", ODD.values(), ids=list(ODD))
def test_a_name_that_is_no_account_is_denied_and_nobody_is_asked(stage: Stage, name: str) -> None:
    calls, records = len(stage.sandbox.calls), len(stage.authpriv())
    assert pamtester(name).returncode == 1
    assert len(stage.sandbox.calls) == calls
    new = [str(record["MESSAGE"]) for record in stage.authpriv()[records:]]
    ours = [text for text in new if "outcome=" in text]
    assert len(ours) == 1
    assert ours[0].startswith("outcome=denied result=denied ")
    assert is_clean(ours[0])


@pytest.fixture(scope="module")
def denied(stage: Stage) -> dict[str, tuple[Guest, int]]:
    """Logins with odd text in all other items; the phone denies. Who it was, and the exit status."""

    def play(text: str) -> tuple[Guest, int]:
        guest = stage.guest(Phone.DENIES)
        return guest, pamtester(guest.name, tty=text, rhost=text, ruser=text).returncode

    with ThreadPoolExecutor(len(ODD)) as pool:
        return dict(zip(ODD, pool.map(play, ODD.values())))


@pytest.mark.parametrize("name", ODD)
def test_odd_text_in_other_items_neither_lets_in_nor_stains_the_record(
    denied: dict[str, tuple[Guest, int]], name: str
) -> None:
    guest, status = denied[name]
    assert status == 1
    assert guest.starts() == 1
    assert guest.record().startswith(f"outcome=denied result=denied user={guest.name} ")
    assert is_clean(guest.record())


def test_items_that_fit_into_no_frame_are_a_denial_by_the_door(stage: Stage) -> None:
    guest = stage.guest(Phone.APPROVES)
    assert pamtester(guest.name, tty="t" * 70_000).returncode == 1
    assert guest.starts() == 0
    assert "reason=the PAM items are too long" in guest.record()
