"""Who was sent a message is remembered, whatever happens in between."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from pam_iampass.enrollment.sent_messages import SentMessages
from pam_iampass.errors import EditRefused
from tests.support.folders import put

ALICE = ("t-alice", "+15551234567")
BOB = ("t-bob", "+15550000000")


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return put(tmp_path / "team.csv", "user\nalice\n")


def note_of(file: Path) -> Path:
    return file.with_name("team.csv.sent")


def test_a_message_is_remembered_until_it_is_taken_back(file: Path) -> None:
    with SentMessages(file) as sent:
        assert ALICE not in sent
        sent.add(*ALICE)
        sent.add(*BOB)
        sent.take_back(*BOB)
    with SentMessages(file) as sent:
        assert ALICE in sent
        assert BOB not in sent
        assert (ALICE[0], BOB[1]) not in sent
        sent.add(*BOB)
        assert BOB in sent


def test_nobody_else_can_read_it(file: Path) -> None:
    with SentMessages(file):
        assert note_of(file).stat().st_mode & 0o777 == 0o600


def test_what_a_crash_cut_off_spoils_nothing_that_comes_after(file: Path) -> None:
    with SentMessages(file) as sent:
        sent.add(*ALICE)
    with note_of(file).open("a") as note:
        note.write('["sent", "t-ca')
    with SentMessages(file) as sent:
        assert ALICE in sent
        sent.add(*BOB)
    with SentMessages(file) as sent:
        assert ALICE in sent
        assert BOB in sent


def test_it_is_on_the_disk_before_the_message_goes_out(file: Path) -> None:
    with SentMessages(file) as sent:
        sent.add(*ALICE)
        assert "t-alice" in note_of(file).read_text()


def test_only_one_works_at_a_time(file: Path) -> None:
    with SentMessages(file), pytest.raises(EditRefused, match="another process"), SentMessages(file):
        pass
    with SentMessages(file):
        pass


def test_it_can_be_forgotten(file: Path) -> None:
    with SentMessages(file) as sent:
        sent.delete()
    assert not note_of(file).exists()


def test_what_another_user_put_there_is_not_touched(file: Path, tmp_path: Path) -> None:
    target = put(tmp_path / "target", "mine\n", 0o600)
    for make in (os.symlink, os.link):
        make(target, note_of(file))
        with pytest.raises(EditRefused), SentMessages(file):
            pass
        note_of(file).unlink()
    put(note_of(file), "", 0o644)
    with pytest.raises(EditRefused, match="only root can read and write"), SentMessages(file):
        pass
    note_of(file).unlink()
    os.mkfifo(note_of(file), 0o600)
    with pytest.raises(EditRefused), SentMessages(file):
        pass
    assert target.read_text() == "mine\n"


def test_a_folder_that_is_not_there_is_reported(tmp_path: Path) -> None:
    with pytest.raises(EditRefused, match="cannot record"), SentMessages(tmp_path / "nowhere" / "team.csv"):
        pass
