"""`pam-iampass-gateway recovery new --from FILE --sheets PDF`: codes on paper for many people, and nowhere else."""

from __future__ import annotations

import fcntl
import os
import re
import stat
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import psycopg
import pytest

from pam_iampass.errors import EditRefused
from pam_iampass.gateway.base.connection import Connection, Lock
from pam_iampass.gateway.base.gateway import Gateway
from pam_iampass.gateway.cli import sheets
from pam_iampass.gateway.people import people
from pam_iampass.gateway.people.people import Person
from pam_iampass.login.recovery import read
from pam_iampass.portal.calls import HOW_TO_USE_CODES
from tests.support.fake_sendmail import FakeSendmail, no_sendmail
from tests.support.folders import put
from tests.support.gateway_command import GatewayCommand

pytestmark = [pytest.mark.needs_program("pdftotext"), pytest.mark.needs_program("strace")]

CODE = re.compile(r"\b(?:[0-9a-z]{4}-){3}[0-9a-z]{4}\b")
NAMES = ("alice", "bob", "carol")


@pytest.fixture
def place(gateway_command: GatewayCommand) -> GatewayCommand:
    """A gateway that knows three people."""

    async def add(gateway: Gateway, connection: Connection) -> None:
        for name in NAMES:
            await people.add(gateway, connection, Person(name, f"token-of-{name}", ("staff",)))

    gateway_command.transaction(add)
    put(gateway_command.folder / "team.csv", "user,mail\n" + "".join(f"{n},{n}@example.com\n" for n in NAMES))
    return gateway_command


@pytest.fixture
def out(tmp_path: Path) -> Path:
    folder = tmp_path / "sheets"
    folder.mkdir(mode=0o755)
    return folder / "sheets.pdf"


def command(place: GatewayCommand, out: Path, *options: str) -> tuple[str, ...]:
    return ("recovery", "new", "--from", str(place.folder / "team.csv"), "--sheets", str(out), *options)


def states(place: GatewayCommand, out: Path, *options: str, status: int = 0) -> list[str]:
    return [each["state"] for each in place.told(*command(place, out, *options), status=status)["users"]]


def pages(pdf: Path) -> list[str]:
    """The text of each page, as a reader of PDF has it."""
    text = subprocess.run(
        ["pdftotext", "-layout", pdf, "-"], check=True, capture_output=True, text=True
    ).stdout
    return text.split("\f")[:-1]


def digests(place: GatewayCommand) -> dict[str, Any]:
    return {row["person"]: row["digests"] for row in place.rows("SELECT * FROM recovery")}


def count_all(place: GatewayCommand, pdf: Path) -> bool:
    """Whether the sheets have all codes of all people in the database, each person their own."""
    found = pages(pdf)

    async def look(gateway: Gateway, connection: Connection) -> bool:
        same = []
        for name, page in zip(NAMES, found):
            person = await people.find(gateway, connection, name)
            assert person is not None
            codes = [gateway.keys.code(person.token, read(code) or "") for code in CODE.findall(page)]
            same.append(codes == list(digests(place).get(name, [])) and len(codes) == 10)
        return all(same) and len(found) == len(same)

    return bool(place.transaction(look))


@contextmanager
def umask(mask: int) -> Iterator[None]:
    before = os.umask(mask)
    try:
        yield
    finally:
        os.umask(before)


def test_each_person_has_a_page_with_their_codes_which_are_nowhere_else(
    place: GatewayCommand, out: Path, tmp_path: Path
) -> None:
    spool = tmp_path / "spool"
    spool.mkdir()
    sendmail = FakeSendmail(spool)
    with no_sendmail(), umask(0):
        sendmail.install()
        shown = place.said(*command(place, out))
        out.unlink()
        as_json = str(place.told(*command(place, out, "--replace")))
    assert sendmail.mails == [], "codes leave by no mail"
    assert stat.S_IMODE(out.stat().st_mode) == 0o600
    assert os.listdir(out.parent) == ["sheets.pdf"]
    assert "3 users: 3 have a new sheet." in shown
    assert f"The sheets are in {out}" in shown
    assert count_all(place, out)
    for name, page in zip(NAMES, pages(out)):
        assert re.search(rf"For +{name}\n", page)
        assert re.search(r"Made at +gateway\.example\.com\n", page)
        assert re.search(r"On +20\d\d-\d\d-\d\d \d\d:\d\d\n", page)
        assert " ".join(page.split()).endswith(HOW_TO_USE_CODES)
    codes = [code for page in pages(out) for code in CODE.findall(page)]
    assert len(set(codes)) == 30
    everywhere = (
        shown + as_json + str(place.rows("SELECT * FROM recovery") + place.rows("SELECT * FROM record"))
    )
    assert not any(code in everywhere or code.replace("-", "") in everywhere for code in codes)
    assert place.records[-3:] == [("recovery_new", name, "on a sheet") for name in NAMES]


def test_run_again_it_makes_nothing_twice(place: GatewayCommand, out: Path) -> None:
    place.said("recovery", "new", "bob")
    bob = digests(place)["bob"]
    shown = place.said(*command(place, out))
    assert re.search(r"bob +has 10 unused codes", shown)
    assert "3 users: 2 have a new sheet, 1 has unused codes." in shown
    before, content = digests(place), out.read_bytes()
    assert before["bob"] == bob
    assert states(place, out) == ["has_codes"] * 3
    assert (digests(place), out.read_bytes()) == (before, content)
    other = out.with_name("more.pdf")
    assert states(place, other) == ["has_codes"] * 3
    assert not other.exists(), "there is nothing to print"
    assert states(place, other, "--replace") == ["sheet"] * 3
    assert count_all(place, other)


@pytest.mark.parametrize("is_link", [False, True])
def test_a_file_that_exists_is_kept_and_nobody_has_new_codes(
    place: GatewayCommand, out: Path, is_link: bool
) -> None:
    if is_link:
        out.symlink_to(out.with_name("elsewhere"))
    else:
        out.write_text("mine")
    assert "exists already. Nobody has new codes" in place.said(*command(place, out), status=1)
    assert digests(place) == {}
    assert os.listdir(out.parent) == ["sheets.pdf"]
    assert is_link or out.read_text() == "mine"


def killed(place: GatewayCommand, out: Path, calls: str) -> None:
    """Run the command, which is killed when it makes these calls of the system."""
    words = [
        sys.executable,
        "-m",
        "pam_iampass.gateway.cli",
        *command(place, out, "--config", str(place.config)),
    ]
    trace = ["strace", "-f", "-qq", "-o", "/dev/null", "-e", f"inject={calls}:signal=KILL"]
    environment = {**os.environ, "PYTHONDONTWRITEBYTECODE": "1"}
    assert subprocess.run([*trace, *words], check=False, env=environment).returncode in (-9, 137)
    assert not out.exists()
    (left,) = out.parent.iterdir()
    assert left.name.endswith(".unfinished")
    assert stat.S_IMODE(left.stat().st_mode) == 0o600


def test_a_run_that_is_killed_once_its_codes_count_is_finished_by_the_next(
    place: GatewayCommand, out: Path
) -> None:
    killed(place, out, "/^rename")
    made = digests(place)
    assert set(made) == set(NAMES)
    shown = place.said(*command(place, out))
    assert f"{out} from an interrupted run is now complete. Its codes are valid." in shown
    assert "3 users: 3 have unused codes." in shown
    assert os.listdir(out.parent) == ["sheets.pdf"]
    assert digests(place) == made
    assert count_all(place, out)


def test_what_a_killed_run_has_left_is_kept_while_its_commit_hangs(place: GatewayCommand, out: Path) -> None:
    killed(place, out, "fsync")
    with psycopg.connect(place.conninfo) as other:
        other.execute("SELECT pg_advisory_xact_lock(%s, hashtext(''))", (Lock.SHEETS.value,))
        assert "lock timeout" in place.said(*command(place, out), status=1)
        assert len(os.listdir(out.parent)) == 1
    assert states(place, out) == ["sheet"] * 3


def test_codes_that_another_command_makes_meanwhile_are_kept(place: GatewayCommand, out: Path) -> None:
    person, made_at = place.person("alice"), datetime.now(timezone.utc)
    place.said("recovery", "new", "alice")
    made = digests(place)
    sheet = sheets.Sheet(person, None, ["0" * 16])
    with pytest.raises(EditRefused, match="was changed meanwhile"):
        place.transaction(lambda g, c: sheets.commit(g, c, [sheet], made_at))
    assert digests(place) == made


def test_what_a_killed_run_has_left_is_not_put_in_place_of_another_file(
    place: GatewayCommand, out: Path
) -> None:
    killed(place, out, "/^rename")
    out.write_text("mine")
    shown = place.said(*command(place, out), status=1)
    assert "there is such a file already. The sheets are in" in shown
    assert out.read_text() == "mine"
    out.unlink()
    place.said(*command(place, out))
    assert count_all(place, out)


def test_a_run_that_is_killed_before_its_codes_count_leaves_no_sheet(
    place: GatewayCommand, out: Path
) -> None:
    killed(place, out, "fsync")
    assert digests(place) == {}
    assert states(place, out) == ["sheet"] * 3
    assert os.listdir(out.parent) == ["sheets.pdf"]
    assert count_all(place, out)


def test_codes_that_are_not_committed_leave_no_sheet(place: GatewayCommand, out: Path) -> None:
    place.rows("ALTER TABLE recovery ADD CONSTRAINT broken CHECK (person <> 'carol')")
    assert "the database refuses this" in place.said(*command(place, out), status=1)
    assert os.listdir(out.parent) == []
    assert digests(place) == {}


def test_on_a_full_disk_nobody_has_new_codes(place: GatewayCommand, out: Path) -> None:
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=4k,mode=700", "none", out.parent], check=True)
    try:
        shown = place.said(*command(place, out), status=1)
        assert "No space left on device. Nobody has new codes." in shown
        assert os.listdir(out.parent) == []
    finally:
        subprocess.run(["umount", out.parent], check=True)
    assert digests(place) == {}


def test_sheets_are_made_in_folders_of_ones_own_by_one_command_at_a_time(
    place: GatewayCommand, out: Path
) -> None:
    for mode, owner in ((0o777, 0), (0o1777, 0), (0o755, 1234)):
        out.parent.chmod(mode)
        os.chown(out.parent, owner, -1)
        assert "other users could replace the sheets" in place.said(*command(place, out), status=1)
    os.chown(out.parent, 0, -1)
    folder = os.open(out.parent, os.O_RDONLY)
    fcntl.flock(folder, fcntl.LOCK_EX)
    assert "another command makes sheets" in place.said(*command(place, out), status=1)
    os.close(folder)
    missing = out.parent / "missing" / "sheets.pdf"
    assert "No such file or directory. Nobody has new codes." in place.said(
        *command(place, missing), status=1
    )
    assert digests(place) == {}


def test_who_is_not_known_gets_no_sheet_and_the_others_do(place: GatewayCommand, out: Path) -> None:
    put(place.folder / "team.csv", "user\nalice\nbbo\ncarol\n")
    shown = place.said(*command(place, out), status=1)
    assert re.search(r'bbo +failed: "bbo" is not known here', shown)
    assert "3 users: 2 have a new sheet, 1 failed." in shown
    assert [re.findall(r"For +(\S+)", page) for page in pages(out)] == [["alice"], ["carol"]]


def test_codes_that_no_gateway_has_written_keep_nobody_from_a_sheet(place: GatewayCommand, out: Path) -> None:
    place.said("recovery", "new", "alice")
    place.rows("UPDATE recovery SET made_at = made_at + interval '1 day'")
    assert states(place, out) == ["sheet"] * 3
    assert count_all(place, out)


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("Zoë «Z»", "alice (Zoë «Z»)"),
        ("Łukasz 王", r"alice (\u0141ukasz \u738b)"),
        ("<b>&amp;</b> %s {x}", "alice (<b>&amp;</b> %s {x})"),
    ],
)
def test_a_sheet_says_whose_it_is_whatever_the_name(
    place: GatewayCommand, out: Path, name: str, shown: str
) -> None:
    place.transaction(lambda g, c: people.change(g, c, "alice", display_name=name))
    place.said(*command(place, out))
    assert shown in pages(out)[0]
    assert count_all(place, out)


def test_without_the_library_nobody_has_new_codes(
    place: GatewayCommand, out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "reportlab.lib.pagesizes", None)
    shown = place.said(*command(place, out), status=1)
    assert "apt install python3-reportlab" in shown
    assert (digests(place), os.listdir(out.parent)) == ({}, [])


@pytest.mark.parametrize(
    "arguments",
    [
        (),
        ("alice", "--from", "/dev/null"),
        ("--from", "/dev/null"),
        ("alice", "--sheets", "/nonexistent/x"),
        ("alice", "--replace"),
        ("--from", "/dev/null", "--sheets", "/nonexistent/x", "--yes"),
    ],
)
def test_codes_of_several_people_are_not_shown(place: GatewayCommand, arguments: tuple[str, ...]) -> None:
    place.said("recovery", "new", *arguments, status=2)
    assert digests(place) == {}
