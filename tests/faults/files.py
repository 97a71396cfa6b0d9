"""The configuration files, and what can be wrong with them.

One row for each file and kind of damage; tests/unit/system/test_trusted_file.py and tests/unit/config have all.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Callable

from tests.support.faults.case import Case, Expected, Requests
from tests.support.faults.expected import APPROVED, MISCONFIGURED, STARTED, UNLISTED
from tests.support.faults.place import Place
from tests.support.faults.server import ACTIVE, ENDED, PENDING, sandbox, scripted
from tests.support.installation import write

Damage = Callable[[Path], object]

FILES: dict[str, Callable[[Place], Path]] = {
    "the settings file": lambda place: place.settings_file,
    "the user table": lambda place: place.table_file,
    "the secret file": lambda place: place.secret_file,
}


def _fifo(file: Path) -> None:
    file.unlink()
    os.mkfifo(file, 0o600)


DAMAGE: dict[str, Damage] = {
    "is missing": Path.unlink,
    "is binary": lambda file: file.write_bytes(bytes(range(256)) * 16),
    "is owned by another user": lambda file: shutil.chown(file, "nobody"),
    "is world-writable": lambda file: file.chmod(0o666),
    "is in a world-writable directory": lambda file: file.parent.chmod(0o777),
    "is a FIFO": _fifo,
    "is not readable by the service user": lambda file: shutil.chown(file, "root", "root"),
}


def table() -> Iterator[Case]:
    """All rows."""
    for name in FILES:
        for what, damage in DAMAGE.items():
            yield _damaged(name, what, damage)
    secret = "the secret file"
    yield _damaged(secret, "is world-readable", lambda file: file.chmod(0o644))
    yield _damaged(secret, "has a wrong secret", lambda file: write(file, "another\n"), STARTED)
    yield _damaged(secret, "has two wrong secrets", lambda file: write(file, "one\ntwo\n"), Requests(2))
    yield from _tables()
    yield Case(
        "the settings have an unknown key",
        MISCONFIGURED,
        scripted(PENDING, ACTIVE, ENDED),
        {"unavailable": "ignore", "colour": "red"},
    )
    yield Case(
        "the PAM line has an unknown argument",
        MISCONFIGURED,
        scripted(PENDING, ACTIVE, ENDED),
        stack=("auth required {module} nullok",),
    )


def _damaged(name: str, what: str, damage: Damage, requests: Requests | None = None) -> Case:
    expected = MISCONFIGURED.but(requests=requests) if requests else MISCONFIGURED
    return Case(f"{name} {what}", expected, sandbox(), prepare=lambda place: damage(FILES[name](place)))


def _tables() -> Iterator[Case]:
    def row(what: str, expected: Expected, text: Callable[[Place], str]) -> Case:
        def prepare(place: Place) -> None:
            write(place.table_file, text(place))

        return Case(what, expected, scripted(PENDING, ACTIVE, ENDED), prepare=prepare)

    yield row(
        "the user table ends in the middle of an entry",
        MISCONFIGURED,
        lambda place: f"{place.users[0]}: {{token: x, me",
    )
    yield row("the user is not in the user table", UNLISTED, lambda place: "stranger: x\n")
    yield row("the user's token is `..`", MISCONFIGURED, lambda place: f'{place.users[0]}: ".."\n')
    yield Case(
        "the user's file in users.d is invalid",
        MISCONFIGURED,
        scripted(PENDING, ACTIVE, ENDED),
        prepare=lambda place: _own_file(place, place.users[0]),
    )
    yield Case(
        "another user's file in users.d is invalid",
        APPROVED,
        scripted(PENDING, ACTIVE, ENDED),
        prepare=lambda place: _own_file(place, "stranger"),
    )


def _own_file(place: Place, user: str) -> None:
    folder = place.table_file.parent / "users.d"
    folder.mkdir(0o750)
    shutil.chown(folder, "root", "_iampass")
    write(folder / f"{user}.yaml", "]")
