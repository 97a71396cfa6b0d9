"""What check finds in the session stacks of services whose IAMPASS sessions are kept."""

from __future__ import annotations

import socket
from dataclasses import replace
from pathlib import Path

import pytest

from pam_iampass.check.sessions import kept, remembered, sudo_rules, untold_owners
from pam_iampass.check.stacks import Stacks
from pam_iampass.config.settings import load
from pam_iampass.errors import Severity
from pam_iampass.pam.stack import DEBIAN, PamFiles
from pam_iampass.system.programs import CommandUnavailable
from pam_iampass.system.sudoers import Sudoers, SudoersLine, files
from tests.support.folders import put

SYSTEMD = "session optional pam_systemd.so\n"
OURS = "session optional pam_iampass.so\n"
IDS = {
    SYSTEMD + OURS: [],
    OURS: [],
    SYSTEMD: ["session-line-missing"],
    "session required pam_permit.so\n": ["session-line-missing"],
    OURS + SYSTEMD: ["session-line-missing"],
    "auth required pam_iampass.so\n" + SYSTEMD: ["session-line-missing"],
}


def enforcer(folder: Path) -> Path:
    """A socket on which a process listens."""
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(folder / "enforcer.sock"))
    return folder / "enforcer.sock"


def found_in(
    folder: Path,
    settings: str,
    socket_path: Path,
    service: str,
    *,
    sudoers: Sudoers | None = None,
    **files: str,
) -> list[str | None]:
    """The kinds of what is found about a service that asks the phone."""
    put(folder / "secret", "s3cret-of-ours\n", 0o600)
    own = f"application_id: app\napplication_secret_file: {folder / 'secret'}\n"
    put(folder / "iampass.yaml", own + settings)
    (folder / "pam.d").mkdir(exist_ok=True)
    for name, text in files.items():
        put(folder / "pam.d" / name.replace("_", "-"), text)
    stacks = Stacks(PamFiles([folder / "pam.d"], DEBIAN), [], frozenset())
    found = kept(stacks, load(folder / "iampass.yaml"), [service], socket_path, sudoers)
    return [one.kind for one in found]


@pytest.mark.parametrize("keep", ["true", "false"])
def test_a_kept_session_needs_the_service_that_ends_logins(trusted_folder: Path, keep: str) -> None:
    settings = f"session: {{keep: {keep}}}\n"
    for path, expected in ((trusted_folder / "none", ["enforcer-off"]), (enforcer(trusted_folder), [])):
        found = found_in(trusted_folder, settings, path, "sshd", sshd=SYSTEMD + OURS)
        assert found == (expected if keep == "true" else [])


def test_an_account_that_acts_for_a_person_needs_the_service_that_writes_on_terminals(
    trusted_folder: Path,
) -> None:
    put(trusted_folder / "secret", "s3cret-of-ours\n", 0o600)
    own = f"application_id: app\napplication_secret_file: {trusted_folder / 'secret'}\n"
    put(trusted_folder / "iampass.yaml", f"{own}users: {trusted_folder}/users.yaml\n")
    settings = load(trusted_folder / "iampass.yaml")
    for more, expected in (("", []), ("claude: {acts_for: alice}\n", ["owners-not-told"])):
        put(trusted_folder / "users.yaml", f"alice: t1\n{more}", 0o640)
        found = list(untold_owners(settings, trusted_folder / "none"))
        assert [one.kind for one in found] == expected
    assert "claude" in str(found[0])
    assert list(untold_owners(settings, enforcer(trusted_folder))) == []
    joined = replace(settings, gateways=("https://gw1.example.com",))
    assert list(untold_owners(joined, trusted_folder / "none")) == []


@pytest.mark.parametrize("keeps", [True, False])
@pytest.mark.parametrize("stack", IDS)
def test_a_kept_session_needs_our_line_after_pam_systemd(
    trusted_folder: Path, stack: str, keeps: bool
) -> None:
    settings = "services: {sshd: {session: {keep: true}}}\n" if keeps else ""
    path, sshd = enforcer(trusted_folder), "@include common-session\n"
    found = found_in(trusted_folder, settings, path, "sshd", common_session=stack, sshd=sshd)
    assert found == (IDS[stack] if keeps else [])


@pytest.mark.parametrize(
    ("name", "shared", "command"),
    [
        ("doas", "auth required pam_unix.so\n", "pam-iampass setup doas"),
        ("sudo-i", "auth required pam_unix.so\n", "pam-iampass setup sudo"),
        ("doas", "auth required pam_iampass.so\n", "pam-auth-update --enable iampass-session"),
    ],
)
def test_the_remedy_is_the_way_by_which_the_service_was_switched_on(
    trusted_folder: Path, name: str, shared: str, command: str
) -> None:
    put(trusted_folder / "secret", "s3cret-of-ours\n", 0o600)
    settings = f"application_id: app\napplication_secret_file: {trusted_folder / 'secret'}\nsession: {{keep: true}}\n"
    put(trusted_folder / "iampass.yaml", settings)
    (trusted_folder / "pam.d").mkdir()
    put(trusted_folder / "pam.d" / "common-auth", shared)
    put(trusted_folder / "pam.d" / name, "@include common-auth\nauth required pam_iampass.so\n")
    stacks = Stacks(PamFiles([trusted_folder / "pam.d"], DEBIAN), [], frozenset())
    (found,) = kept(stacks, load(trusted_folder / "iampass.yaml"), [name], enforcer(trusted_folder))
    assert found.remedy == f"{command}; by hand, after pam_systemd: session optional pam_iampass.so"


def test_what_polkit_approves_is_kept_by_nobody(trusted_folder: Path) -> None:
    """Its helper asks, and pkexec opens the session."""
    put(trusted_folder / "secret", "s3cret-of-ours\n", 0o600)
    settings = f"application_id: app\napplication_secret_file: {trusted_folder / 'secret'}\nsession: {{keep: true}}\n"
    put(trusted_folder / "iampass.yaml", settings)
    (trusted_folder / "pam.d").mkdir()
    put(trusted_folder / "pam.d" / "polkit-1", f"auth required pam_iampass.so\n{OURS}")
    stacks = Stacks(PamFiles([trusted_folder / "pam.d"], DEBIAN), [], frozenset())
    found = kept(stacks, load(trusted_folder / "iampass.yaml"), ["polkit-1"], enforcer(trusted_folder))
    assert list(found) == []


def test_a_service_that_opens_sessions_without_asking_needs_no_line(trusted_folder: Path) -> None:
    other = "auth required pam_iampass.so\n"
    keep, path = "session: {keep: true}\n", enforcer(trusted_folder)
    assert not found_in(trusted_folder, keep, path, "systemd-user", other=other, systemd_user=SYSTEMD)


ASKS = f"auth required pam_iampass.so\n{OURS}"
QUIET = f"account required pam_iampass.so\n{OURS}"
KEEP = "session: {keep: true}\n"
REMEMBERS, FORGETS = Sudoers(()), Sudoers((SudoersLine("timestamp_timeout", 0),))


def endless(
    folder: Path,
    files: dict[str, str],
    settings: str = KEEP,
    sshd_service: str = "sshd",
    sudoers: Sudoers = REMEMBERS,
    rule: str = "permit persist alice\n",
) -> list[str]:
    """The programs whose root shells the phone cannot end. `rule` is a line of doas.conf, `files` are PAM files."""
    put(folder / "secret", "s3cret-of-ours\n", 0o600)
    own = f"application_id: app\napplication_secret_file: {folder / 'secret'}\n"
    put(folder / "iampass.yaml", own + settings)
    (folder / "pam.d").mkdir(exist_ok=True)
    for name, text in files.items():
        put(folder / "pam.d" / name.replace("_", "-"), text)
    services = PamFiles([folder / "pam.d"], DEBIAN).usable()
    loaded, doas = load(folder / "iampass.yaml"), put(folder / "doas.conf", rule)
    found = list(remembered(services, loaded, sshd_service, lambda: [sudoers], doas))
    assert {(one.kind, one.severity) for one in found} <= {("session-remembered", Severity.ERROR)}
    return [one.key for one in found]


@pytest.mark.parametrize(
    ("values", "remembers"),
    [
        ((), True),
        ((0,), False),
        (("0",), False),
        ((False,), False),
        ((5, 0), False),
        ((0, 5), True),
        ((-1,), True),
    ],
)
def test_sudo_that_remembers_starts_what_belongs_to_no_session(
    trusted_folder: Path, values: tuple[object, ...], remembers: bool
) -> None:
    sudoers = Sudoers(tuple(SudoersLine("timestamp_timeout", value) for value in values))
    assert endless(trusted_folder, {"sudo": ASKS}, sudoers=sudoers) == (["sudo"] if remembers else [])
    assert endless(trusted_folder, {}, "session: {keep: false}\n", sudoers=sudoers) == []


@pytest.mark.parametrize(
    ("name", "value", "elsewhere"),
    [
        ("timestampdir", "/var/lib/sudo", True),
        ("timestampdir", "/var/run/sudo/ts/", False),
        ("timestampdir", False, False),
        ("timestampowner", "alice", True),
        ("timestampowner", "root", False),
    ],
)
def test_that_sudo_remembers_where_nothing_is_revoked_is_found_if_any_session_is_kept(
    trusted_folder: Path, name: str, value: object, elsewhere: bool
) -> None:
    sudoers = Sudoers((SudoersLine("timestamp_timeout", 0), SudoersLine(name, value)))
    path = enforcer(trusted_folder)
    for keep in ("true", "false"):
        settings = f"session: {{keep: {keep}}}\n"
        found = found_in(trusted_folder, settings, path, "sshd", sudoers=sudoers, sshd=SYSTEMD + OURS)
        assert found == (["sudo-never-asks-again"] if elsewhere and keep == "true" else [])


@pytest.mark.parametrize(
    ("rule", "remembers"),
    [("permit persist alice\n", True), ("permit alice # no persist\n", False), ("permit alice\n", False)],
)
def test_doas_that_remembers_starts_what_belongs_to_no_session(
    trusted_folder: Path, rule: str, remembers: bool
) -> None:
    assert endless(trusted_folder, {"doas": ASKS}, rule=rule) == (["doas"] if remembers else [])


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        ({"sshd": QUIET}, []),
        ({"sshd": ASKS}, []),
        ({"lightdm": ASKS}, []),
        ({"sshd": QUIET, "login": ASKS}, []),
        ({}, ["sudo"]),
        ({"sshd": OURS}, ["sudo"]),
        ({"sshd": "account required pam_iampass.so\n"}, ["sudo"]),
        ({"sshd": QUIET, "login": "auth required pam_iampass.so\n"}, ["sudo"]),
        ({"su": ASKS}, ["sudo"]),
    ],
    ids=[
        *(
            "sshd, quiet",
            "sshd, at the prompt",
            "a display manager",
            "sshd and the console",
            "none",
            "not asked",
        ),
        *("without a session line", "the console without one", "su is no login"),
    ],
)
def test_what_sudo_remembers_matters_only_in_logins_that_are_not_kept(
    trusted_folder: Path, files: dict[str, str], expected: list[str]
) -> None:
    assert endless(trusted_folder, {"sudo": ASKS, **files}) == expected


def test_a_login_that_keeps_nothing_makes_it_matter(trusted_folder: Path) -> None:
    settings = KEEP + "services: {login: {session: {keep: false}}}\n"
    assert endless(trusted_folder, {"sudo": ASKS, "doas": ASKS, "sshd": QUIET}, settings) == []
    assert endless(trusted_folder, {"login": ASKS}, settings) == ["sudo", "doas"]
    assert endless(trusted_folder, {}, settings, sudoers=FORGETS, rule="permit alice\n") == []


def test_sshd_can_have_a_pam_service_of_another_name(trusted_folder: Path) -> None:
    assert endless(trusted_folder, {"sudo": ASKS, "ours": QUIET}, sshd_service="ours") == []
    assert endless(trusted_folder, {}, sshd_service="sshd") == ["sudo"]


def test_sudo_whose_settings_cannot_be_read_is_taken_to_remember() -> None:
    def read(_file: Path | None) -> Sudoers:
        raise CommandUnavailable("cvtsudoers is not installed", "")

    assert all(one.remembers for one in sudo_rules(read))
    assert len(sudo_rules(read)) == len(files())
