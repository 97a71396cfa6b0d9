"""Who logs in on this machine."""

from __future__ import annotations

import pwd
from pathlib import Path

import pytest

from pam_iampass.system import service_user
from pam_iampass.system.accounts import is_login_shell, login_accounts
from tests.support.folders import put


def account(name: str, uid: int, shell: str = "/bin/sh") -> pwd.struct_passwd:
    return pwd.struct_passwd((name, "x", uid, uid, "", "/", shell))


def names(*accounts: pwd.struct_passwd, login_defs: Path = Path("/nowhere")) -> list[str]:
    return login_accounts(accounts, login_defs)


def test_root_and_people_log_in_and_services_do_not() -> None:
    people = [account("zoe", 1000), account("root", 0), account("daemon", 1), account("nobody", 65534)]
    assert names(*people) == ["root", "zoe"]


@pytest.mark.parametrize(
    "shell", ["/usr/sbin/nologin", "/bin/false", "/no/such/shell", "/etc/passwd", "/etc"]
)
def test_without_a_shell_that_lets_one_work_nobody_logs_in(shell: str) -> None:
    assert names(account("zoe", 1000, shell)) == []
    assert not is_login_shell(shell)


def test_no_shell_means_bin_sh() -> None:
    assert names(account("zoe", 1000, "")) == ["zoe"]


def test_the_range_is_that_of_login_defs(tmp_path: Path) -> None:
    defs = put(tmp_path / "login.defs", "# UID_MIN 1\nUID_MIN\t\t  500\n  UID_MAX 600\nSYS_UID_MIN 100\n")
    people = [account(f"u{uid}", uid) for uid in (100, 499, 500, 600, 601)]
    assert names(*people, login_defs=defs) == ["u500", "u600"]


def test_a_name_that_nss_lists_twice_is_one_user() -> None:
    assert names(account("zoe", 1000), account("zoe", 2000)) == ["zoe"]


def test_a_group_of_the_service_that_is_gone_has_no_members(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(service_user, "service_group", lambda _name: 2**31 - 7)
    assert service_user.others_in_group() == []
