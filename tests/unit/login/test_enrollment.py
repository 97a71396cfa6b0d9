"""Enrollment at login: which users are offered it, its results, and that it lets nobody in."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from pam_iampass.config.settings import load
from pam_iampass.doctor.configuration import enrollment_problems
from pam_iampass.errors import Severity
from pam_iampass.outcome import PamCode
from pam_iampass.pam.stack import PamFiles
from tests.support.deadline import DEADLINE
from tests.support.folders import put
from tests.support.sandbox import HttpStatus, ReplacedKey
from tests.support.setting import ME, Setting

KEY: dict[str, Any] = {"ssh_auth_info": "publickey ssh-ed25519 AAAA"}
DENIED = PamCode.MAXTRIES


@pytest.fixture
def without_phone(world: Setting) -> Setting:
    world.configure(enroll_at_login="true")
    world.sandbox.add_user(world.token, device=False)
    return world


def test_a_user_who_has_no_phone_registers_one_and_is_to_log_in_again(without_phone: Setting) -> None:
    world = without_phone

    def register() -> str:
        world.sandbox.add_user(world.token, device=True)
        return ""

    told = world.login("first_factor=publickey", answers=("", register), **KEY)
    assert told.code == DENIED
    assert told.errors == ["Your phone is registered. Log in again, and approve the login on it."]
    assert world.outcome() == ("no_device", "denied")
    assert "a phone was registered at this login" in world.only_record()["IAMPASS_REASON"]
    assert world.calls == ["start", "registration_link", "has_device"]
    assert told.said[0] == f"No phone is registered for you yet. You have {DEADLINE} seconds to register one:"
    assert told.said[2].startswith(f"{world.sandbox.url}/register/")
    assert len({len(line) for line in told.said[3:]}) == 1
    assert set("".join(told.said[3:])) == set("█▀▄ ")
    assert told.asked[-1] == "Once your phone is registered, press Enter: "
    assert told.promised == [DEADLINE, DEADLINE]
    world.records.fields.clear()
    assert world.login("first_factor=publickey", **KEY).code == PamCode.SUCCESS


def test_a_user_who_registers_none_in_time_reads_so(without_phone: Setting) -> None:
    told = without_phone.login("first_factor=publickey", **KEY)
    assert told.code == DENIED
    assert told.errors == ["No phone was registered. Log in again to retry, or ask your administrator."]
    assert without_phone.outcome() == ("no_device", "denied")
    assert without_phone.only_record()["IAMPASS_REASON"].endswith("the time was up")


def test_without_the_argument_no_link_is_shown(without_phone: Setting) -> None:
    told = without_phone.login(**KEY)
    assert told.code == DENIED
    assert without_phone.outcome() == ("misconfigured", "denied")
    assert "first_factor=publickey" in without_phone.only_record()["IAMPASS_REASON"]
    assert without_phone.calls == ["start"]
    assert not any("https://" in line for line in told.said)


def test_it_is_off_by_default(without_phone: Setting) -> None:
    without_phone.configure()
    told = without_phone.login("first_factor=publickey", **KEY)
    assert told.code == DENIED
    assert without_phone.calls == ["start"]
    assert told.errors == ["No phone is registered for you at IAMPASS. Please ask your administrator."]


def test_a_user_who_is_in_no_table_is_shown_no_link(without_phone: Setting) -> None:
    """A template gives every account a token: anyone with a key could register a phone for it."""
    without_phone.write("users.yaml", "{}\n")
    template = without_phone.token.replace(ME, "{user}")
    without_phone.configure(enroll_at_login="true", unlisted_users=f'"{template}"')
    told = without_phone.login("first_factor=publickey", **KEY)
    assert told.code == DENIED
    assert without_phone.calls == ["start"]
    assert told.errors == ["No phone is registered for you at IAMPASS. Please ask your administrator."]


@pytest.mark.parametrize(
    "fault", [HttpStatus(503), HttpStatus(401), ReplacedKey("status", False), ReplacedKey("register_url", 7)]
)
def test_a_link_that_cannot_be_had_denies_with_its_reason(
    without_phone: Setting, fault: HttpStatus | ReplacedKey
) -> None:
    without_phone.sandbox.misbehave("registration_link", fault, times=3)
    told = without_phone.login("first_factor=publickey", **KEY)
    assert told.code == DENIED
    assert without_phone.outcome() == ("no_device", "denied")
    assert "registration link" in without_phone.only_record()["IAMPASS_REASON"]


def test_a_link_that_would_be_cut_is_not_shown(without_phone: Setting) -> None:
    link = "https://x.example/" + "a" * 300
    without_phone.sandbox.misbehave("registration_link", ReplacedKey("register_url", link))
    told = without_phone.login("first_factor=publickey", **KEY)
    assert not any(line.startswith("https://") for line in told.said)
    assert "318 characters" in without_phone.only_record()["IAMPASS_REASON"]


def test_an_application_that_cannot_ask_again_denies(without_phone: Setting) -> None:
    told = without_phone.login("first_factor=publickey", answers=("", None), **KEY)
    assert told.code == DENIED
    assert "the prompt was not answered" in without_phone.only_record()["IAMPASS_REASON"]


@pytest.mark.needs_root
def test_check_finds_lines_without_the_argument(world: Setting, tmp_path: Path) -> None:
    world.configure(enroll_at_login="true", services="{quiet: {enroll_at_login: false}}")
    ours = "auth required pam_iampass.so"
    python = "auth required pam_python.so /usr/lib/pam-iampass/pam_iampass.py"
    for name, text in {
        "with": f"{ours} first_factor=publickey\n",
        "without": f"# ours\n{ours} debug\n",
        "python": f"{python}\n",
        "quiet": f"{ours}\n",
        "includes": "@include without\n",
        "others": "auth required pam_unix.so\naccount required pam_iampass.so\n",
    }.items():
        put(tmp_path / name, text)
    settings = load(world.folder / "iampass.yaml", readers={0})
    found = list(enrollment_problems(settings, PamFiles((tmp_path,))))
    assert [(problem.file and problem.file.name, problem.line) for problem in found] == [
        ("without", 2),
        ("python", 1),
    ]
    assert all(problem.severity is Severity.ERROR for problem in found)
    world.configure()
    settings = load(world.folder / "iampass.yaml", readers={0})
    assert list(enrollment_problems(settings, PamFiles((tmp_path,)))) == []
