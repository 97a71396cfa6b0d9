"""The last line of `pam-iampass check`: which logins the errors deny, by service and by user."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from pam_iampass.check.configuration import check_config
from tests.support.folders import put

MODULE_USER = "no-such-user"
SUDO = "auth required pam_unix.so\nauth required pam_iampass.so config={settings}\n"
QUIET = "account requisite pam_iampass.so config={settings}\naccount required pam_unix.so\n"
WHOLE = "through sshd and sudo, "


@pytest.fixture
def config(trusted_folder: Path) -> Path:
    """Settings without an error, which two PAM services use; a third one uses other settings."""
    folder = trusted_folder
    put(folder / "application-secret", "s3cret\n", 0o600)
    put(folder / "users.yaml", "alice: a\n")
    (folder / "users.d").mkdir()
    settings = folder / "iampass.yaml"
    (folder / "pam.d").mkdir()
    for name, text in {"sudo": SUDO, "sshd": QUIET}.items():
        put(folder / "pam.d" / name, text.format(settings=settings))
    put(folder / "pam.d/su", "auth required pam_iampass.so\n")
    put(folder / "pam.d/broken", "auth required\n")
    write(settings)
    return settings


def write(config: Path, more: str = "") -> None:
    own = f"application_secret_file: {config.parent}/application-secret\nusers: {config.parent}/users.yaml\n"
    put(config, f"application_id: app\n{own}{more}")


def denied(config: Path) -> str:
    return check_config(config, MODULE_USER, "/no/sshd", [config.parent / "pam.d"]).denied


def test_without_an_error_nobody_is_denied_by_one(config: Path) -> None:
    assert denied(config) == ""
    put(config.parent / "users.yaml", "alice: a\nbob: a\n")  # a warning
    assert denied(config) == ""


def test_an_error_in_the_settings_denies_every_login_of_the_services_that_use_them(config: Path) -> None:
    write(config, "timeout: 60\n")
    assert denied(config) == WHOLE + "every login is denied"


def test_a_missing_secret_denies_every_login_of_these_services(config: Path) -> None:
    (config.parent / "application-secret").unlink()
    put(config.parent / "users.yaml", "alice:\n")
    assert denied(config) == WHOLE + "every login is denied"


def test_settings_that_no_service_uses_yet_deny_nobody_yet(config: Path) -> None:
    new = config.parent / "new.yaml"
    put(new, config.read_text("utf-8") + "timeout: 60\n")
    assert denied(new) == "every login is denied, once a PAM service uses these settings"


def test_files_that_packages_and_editors_left_behind_are_no_services(config: Path) -> None:
    folder = config.parent / "pam.d"
    for name in ("su.dpkg-old", "su.dpkg-dist", "su.ucf-old", "su.rpmsave", "su.rpmnew", "su~", ".su.swp"):
        put(folder / name, f"auth sufficient pam_permit.so\n{SUDO}".format(settings=config))
    found = check_config(config, MODULE_USER, "/no/sshd", [folder], services=True)
    assert [str(one) for one in found.problems if re.search(r"\bsu[.~]", str(one))] == []
    put(config, "application_id:\n")
    assert denied(config).startswith(WHOLE)


def test_an_error_in_the_file_of_a_user_denies_this_user(config: Path) -> None:
    put(config.parent / "users.d/bob.yaml", "bob:\n")
    assert denied(config) == WHOLE + "bob is denied"
    put(config.parent / "users.d/carol.yaml", "bob: b\ncarol: ''\n")
    assert denied(config) == WHOLE + "bob and carol are denied"
    for number in range(7):
        put(config.parent / f"users.d/user{number}.yaml", "no: such\n")
    assert denied(config) == WHOLE + "bob, carol, user0, user1 and 5 more are denied"


def test_a_user_table_with_an_error_denies_those_who_are_looked_up_in_it(config: Path) -> None:
    put(config.parent / "users.yaml", "alice: a\nbob:\n")
    put(config.parent / "users.d/carol.yaml", "carol:\n")
    others = "users who are not exempt and have no file in users.d are denied"
    assert denied(config) == WHOLE + f"{others} and carol is denied"


def test_a_folder_that_others_can_write_denies_all_who_are_not_exempt(config: Path) -> None:
    (config.parent / "users.d").chmod(0o777)
    assert denied(config) == WHOLE + "users who are not exempt are denied"


@pytest.mark.parametrize(
    ("more", "section"),
    [
        ("asked: {users: [no-such-user]}\n", "asked"),
        ("services: {sudo: {asked: {groups: [no-such-group]}}}\n", "services.sudo.asked"),
    ],
)
def test_an_unknown_name_among_those_who_are_asked_denies_those_who_are_not_listed(
    config: Path, more: str, section: str
) -> None:
    write(config, more)
    assert denied(config) == WHOLE + f"users whom {section} does not list are denied"
