"""What doctor finds in the session stacks of services whose IAMPASS sessions are kept."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest

from pam_iampass.config.settings import load
from pam_iampass.doctor.session_check import findings
from pam_iampass.doctor.stacks import Stacks
from pam_iampass.pam.dialect import DEBIAN
from pam_iampass.pam.stack import PamFiles
from tests.support.folders import put

SYSTEMD = "session optional pam_systemd.so\n"
OURS = "session optional pam_iampass.so\n"
IDS = {
    SYSTEMD + OURS: [],
    OURS: [],
    SYSTEMD: ["session-line-missing"],
    "session required pam_permit.so\n": ["session-line-missing"],
    OURS + SYSTEMD: ["session-line-early"],
    "auth required pam_iampass.so\n" + SYSTEMD: ["session-line-missing"],
}


def enforcer(folder: Path) -> Path:
    """A socket on which a process listens."""
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(folder / "enforcer.sock"))
    return folder / "enforcer.sock"


@pytest.mark.parametrize("keep", ["true", "false"])
def test_a_kept_session_needs_the_service_that_ends_logins(trusted_folder: Path, keep: str) -> None:
    put(trusted_folder / "secret", "s3cret-of-ours\n", 0o600)
    settings = f"application_id: app\napplication_secret_file: {trusted_folder / 'secret'}\n"
    put(trusted_folder / "iampass.yaml", f"{settings}session: {{keep: {keep}}}\n")
    (trusted_folder / "pam.d").mkdir()
    put(trusted_folder / "pam.d" / "sshd", SYSTEMD + OURS)
    stacks = Stacks(PamFiles([trusted_folder / "pam.d"], DEBIAN), [], frozenset())
    for path, expected in ((trusted_folder / "none", ["enforcer-off"]), (enforcer(trusted_folder), [])):
        found = findings(stacks, load(trusted_folder / "iampass.yaml"), ["sshd"], path)
        assert [one.kind for one in found] == (expected if keep == "true" else [])


@pytest.mark.parametrize("keeps", [True, False])
@pytest.mark.parametrize("stack", IDS)
def test_a_kept_session_needs_our_line_after_pam_systemd(
    trusted_folder: Path, stack: str, keeps: bool
) -> None:
    put(trusted_folder / "secret", "s3cret-of-ours\n", 0o600)
    settings = (
        f"application_id: app\napplication_secret_file: {trusted_folder / 'secret'}\nserver: https://x.test\n"
    )
    if keeps:
        settings += "services: {sshd: {session: {keep: true}}}\n"
    put(trusted_folder / "iampass.yaml", settings)
    (trusted_folder / "pam.d").mkdir()
    put(trusted_folder / "pam.d" / "common-session", stack)
    put(trusted_folder / "pam.d" / "sshd", "@include common-session\n")
    stacks = Stacks(PamFiles([trusted_folder / "pam.d"], DEBIAN), [], frozenset())
    found = findings(stacks, load(trusted_folder / "iampass.yaml"), ["sshd"], enforcer(trusted_folder))
    assert [one.kind for one in found] == (IDS[stack] if keeps else [])


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
    (found,) = findings(stacks, load(trusted_folder / "iampass.yaml"), [name], enforcer(trusted_folder))
    assert found.remedy == f"{command}; by hand, after pam_systemd: session optional pam_iampass.so"


def test_a_service_that_opens_sessions_without_asking_needs_no_line(trusted_folder: Path) -> None:
    put(trusted_folder / "secret", "s3cret-of-ours\n", 0o600)
    settings = f"application_id: app\napplication_secret_file: {trusted_folder / 'secret'}\nsession: {{keep: true}}\n"
    put(trusted_folder / "iampass.yaml", settings)
    (trusted_folder / "pam.d").mkdir()
    put(trusted_folder / "pam.d" / "other", "auth required pam_iampass.so\n")
    put(trusted_folder / "pam.d" / "systemd-user", SYSTEMD)
    stacks = Stacks(PamFiles([trusted_folder / "pam.d"], DEBIAN), [], frozenset())
    assert "systemd-user" in stacks.with_us
    asking = ["systemd-user"]
    assert not list(findings(stacks, load(trusted_folder / "iampass.yaml"), asking, enforcer(trusted_folder)))
