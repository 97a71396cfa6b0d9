"""How users stand, judged as a login would be."""

from __future__ import annotations

import grp
import os
from dataclasses import dataclass
from pathlib import Path

import pytest

from pam_iampass.check.user_status import UserState, UserStatus, UserStatusReport, user_status
from pam_iampass.errors import ConfigurationError
from tests.support.folders import put

ANYBODY = "daemon"  # stands in for the user, and the group, that the module runs as


@dataclass
class Configuration:
    """Settings and table in a folder of their own."""

    folder: Path

    def configure(self, more: str = "") -> None:
        put(
            self.folder / "iampass.yaml",
            f"application_id: app\napplication_secret_file: {self.folder}/secret\n"
            f"users: {self.folder}/users.yaml\n{more}",
        )

    def report(self, *names: str) -> UserStatusReport:
        people = ["root"]
        return user_status(self.folder / "iampass.yaml", names or None, people, ANYBODY)

    def of(self, name: str) -> UserStatus:
        """The same whether everybody is looked at or one."""
        (one,) = self.report(name).users
        (same,) = [standing for standing in self.report().users if standing.name == name]
        assert one == same
        return one


@pytest.fixture
def configuration(trusted_folder: Path) -> Configuration:
    configuration = Configuration(trusted_folder)
    secret = put(trusted_folder / "secret", "s3cret\n", 0o640)
    os.chown(secret, 0, grp.getgrnam(ANYBODY).gr_gid)
    put(trusted_folder / "users.yaml", "{}\n")
    configuration.configure()
    return configuration


def test_a_user_with_a_token_is_asked(configuration: Configuration) -> None:
    put(configuration.folder / "users.yaml", "# people\nroot: t\n")
    found = configuration.of("root")
    assert (found.state, found.uid) == (UserState.ASKED, 0)
    assert found.place == (configuration.folder / "users.yaml", 2)


def test_a_user_who_has_no_token_is_denied_or_passes_as_the_settings_say(
    configuration: Configuration,
) -> None:
    assert configuration.of("root").state is UserState.DENIED
    configuration.configure("unlisted_users: ignore\n")
    assert configuration.of("root").state is UserState.IGNORED
    configuration.configure('unlisted_users: "{user}@example.com"\n')
    found = configuration.of("root")
    assert (found.state, found.entry) == (UserState.ASKED, None)
    assert "{user}@example.com" in found.reason


def test_a_service_that_does_otherwise_is_named(configuration: Configuration) -> None:
    configuration.configure("services: {sudo: {unlisted_users: ignore}, su: {timeout: 30s}}\n")
    assert configuration.of("root").services == {"sudo": UserState.IGNORED}
    put(configuration.folder / "users.yaml", "root: t\n")
    assert configuration.of("root").services == {}


def test_a_service_that_a_second_person_must_approve_is_named(configuration: Configuration) -> None:
    put(configuration.folder / "users.yaml", "root: t\n")
    configuration.configure("services: {sudo: {approver: {group: oncall}}}\n")
    assert configuration.of("root").services == {"sudo": UserState.BY_OTHERS}
    configuration.configure("exempt: {users: [root]}\nservices: {sudo: {approver: {group: oncall}}}\n")
    assert configuration.of("root").services == {}


def test_a_person_whom_a_key_names_is_asked_without_an_account_and_the_account_by_the_key(
    configuration: Configuration,
) -> None:
    person = "SHA256:" + "A" * 43
    put(configuration.folder / "users.yaml", f"no such: {{token: t, keys: [{person}]}}\n")
    by_key = "services: {sshd: {approver: key}}\n"
    configuration.configure(by_key)
    assert configuration.of("root").services == {"sshd": UserState.BY_KEY}
    found = configuration.of("no such")
    assert (found.state, found.uid, found.keys, found.reason) == (UserState.ASKED, None, 1, "no account")
    put(configuration.folder / "users.yaml", f"no such: {{keys: [{person}]}}\n")
    assert configuration.of("no such").state is UserState.DENIED
    put(configuration.folder / "users.yaml", "no such: {keys: [x]}\n")
    assert configuration.of("no such").state is UserState.BROKEN
    configuration.configure(by_key + "exempt: {users: [root]}\n")
    assert configuration.of("root").services == {}
    configuration.configure("")
    assert configuration.report("no such").users[0].state is UserState.NO_ACCOUNT


@pytest.mark.parametrize(
    ("exempt", "reason"),
    [("users: [root]", "root is exempt"), ("groups: [root]", "root is in the exempt group root")],
)
def test_a_user_who_is_exempt_is_not_asked_token_or_not(
    configuration: Configuration, exempt: str, reason: str
) -> None:
    configuration.configure(f"exempt: {{{exempt}}}\n")
    for table in ("root: t\n", "{}\n", "root: ''\n"):
        put(configuration.folder / "users.yaml", table)
        found = configuration.of("root") if table != "root: ''\n" else configuration.report("root").users[0]
        assert (found.state, found.reason) == (UserState.EXEMPT, reason)


def test_a_user_who_is_not_asked_is_exempt_except_in_services_that_ask_everybody(
    configuration: Configuration,
) -> None:
    put(configuration.folder / "users.yaml", "root: t\n")
    configuration.configure("asked: {users: [daemon]}\nservices: {sudo: {asked: {}}, su: {timeout: 9s}}\n")
    found = configuration.of("root")
    assert (found.state, found.reason) == (UserState.EXEMPT, "root is not one of `asked`")
    assert found.services == {"sudo": UserState.ASKED}


def test_an_exemption_for_one_service_and_one_in_a_network_are_named(configuration: Configuration) -> None:
    put(configuration.folder / "users.yaml", "root: t\n")
    configuration.configure(
        "exempt: {rules: [group root from 192.0.2.0/24]}\nservices: {sudo: {exempt: {users: [root]}}}\n"
    )
    found = configuration.of("root")
    assert (found.state, found.reason) == (UserState.ASKED, "exempt from 192.0.2.0/24")
    assert found.services == {"sudo": UserState.EXEMPT}


def test_an_account_that_acts_for_a_person_needs_the_phone_of_that_person(
    configuration: Configuration,
) -> None:
    put(configuration.folder / "users.yaml", "root: t\ndaemon: {acts_for: root}\n")
    services = "{sudo: {exempt: {users: [daemon]}}, su: {approver: {user: root}}}"
    configuration.configure(f"exempt: {{networks: [192.0.2.0/24]}}\nservices: {services}\n")
    found = configuration.of("daemon")
    assert (found.state, found.reason, found.token) == (UserState.BY_OWNER, "acts for root", None)
    assert found.services == {"sudo": UserState.BROKEN, "su": UserState.BY_OTHERS}


def test_one_whose_owner_is_gone_is_denied_whatever_else_the_settings_say(
    configuration: Configuration,
) -> None:
    put(configuration.folder / "users.yaml", "daemon: {acts_for: root}\n")
    configuration.configure("exempt: {users: [daemon]}\nunlisted_users: ignore\n")
    found = configuration.of("daemon")
    assert found.state is UserState.BROKEN
    assert 'users.yaml:1: daemon.acts_for: "root" is not in the user table' in found.reason
    assert not configuration.report("daemon").ok
    assert not configuration.report().ok


def test_a_token_without_an_account_is_never_looked_up(configuration: Configuration) -> None:
    put(configuration.folder / "users.yaml", "ghost: t\n")
    found = configuration.of("ghost")
    assert (found.state, found.uid, found.entry is not None) == (UserState.NO_ACCOUNT, None, True)


def test_a_broken_file_denies_that_user_and_the_report_says_why(configuration: Configuration) -> None:
    (configuration.folder / "users.d").mkdir()
    put(configuration.folder / "users.d" / "ghost.yaml", "ghost: ''\n")
    put(configuration.folder / "users.d" / "root.yaml", "root: ''\n")
    found = configuration.of("root")
    assert found.state is UserState.BROKEN
    assert "the token is empty" in found.reason
    assert [standing.name for standing in configuration.report().users] == ["ghost", "root"]
    assert not configuration.report().ok
    assert not configuration.report("root").ok


def test_with_wrong_settings_everybody_is_denied(configuration: Configuration) -> None:
    configuration.configure("timeout: 60\n")
    put(configuration.folder / "users.yaml", "root: t\n")
    assert (configuration.of("root").state, configuration.of("root").reason) == (
        UserState.BROKEN,
        "the settings are invalid",
    )


def test_settings_that_cannot_be_read_at_all_are_an_error(configuration: Configuration) -> None:
    (configuration.folder / "iampass.yaml").unlink()
    with pytest.raises(ConfigurationError, match="does not exist"):
        configuration.report()
