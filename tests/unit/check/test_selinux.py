"""In which domains check finds that services run, and what it says of their way to the agent.

The kernel of the test machines has no SELinux: its files are real ones here, and its answers are made up.
"""

from __future__ import annotations

import errno
import os
import re
import socket
from collections.abc import Sequence
from pathlib import Path

import pytest

from pam_iampass.check.selinux import AskingService, Kernel, SelinuxCheck
from pam_iampass.errors import Problem
from pam_iampass.system.programs import CommandResult

INDEX = {"process": 2, "dir": 7, "sock_file": 11, "unix_stream_socket": 30}
PERMISSIONS = {"dir/search": 19, "sock_file/write": 3, "unix_stream_socket/connectto": 23}
SSHD, SESSION = "/usr/sbin/sshd", "/usr/lib/openssh/sshd-session"
SSHD_SERVICE = AskingService("pam_iampass_sshd", (SSHD, SESSION))
LOGIN_SERVICE = AskingService("pam_iampass_local", ("/usr/sbin/agetty", "/usr/bin/login"))
AGENT = "system_u:system_r:pam_iampass_t:s0"


def domain(name: str, level: str = "s0") -> str:
    return f"system_u:system_r:{name}:{level}"


def file_type(name: str) -> str:
    return f"system_u:object_r:{name}:s0"


class PlayedKernel(Kernel):
    """A kernel whose policy is a table."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder / "selinux", folder / "proc")
        self.transitions = {
            ("init_t", "sshd_exec_t"): "sshd_t",
            ("sshd_t", "sshd_session_exec_t"): "sshd_session_t",
            ("init_t", "getty_exec_t"): "getty_t",
            ("getty_t", "login_exec_t"): "local_login_t",
        }
        self.labels = {
            SSHD: "sshd_exec_t",
            SESSION: "sshd_session_exec_t",
            "/usr/sbin/agetty": "getty_exec_t",
            "/usr/bin/login": "login_exec_t",
            str(folder / "iampass"): "pam_iampass_runtime_t",
            str(folder / "iampass/pam.sock"): "pam_iampass_runtime_t",
        }
        self.allowed = {
            name: {"dir/search", "sock_file/write", "unix_stream_socket/connectto"}
            for name in ("sshd_t", "local_login_t")
        }
        self.permissive: set[str] = set()
        self.unknown: set[str] = set()
        for kind, index in INDEX.items():
            self.write(f"class/{kind}/index", str(index))
        for name, number in PERMISSIONS.items():
            kind, right = name.split("/")
            self.write(f"class/{kind}/perms/{right}", str(number))
        self.write("enforce", "1")
        for boolean in ("pam_iampass_sshd", "pam_iampass_local"):
            self.write(f"booleans/{boolean}", "1 1")
        self.process(1, "/usr/lib/systemd/systemd", domain("init_t"))

    def write(self, name: str, text: str) -> None:
        file = self.root / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)

    def process(self, number: int, program: str, context: str, uids: str = "0 0 0 0") -> None:
        folder = self.proc / str(number)
        (folder / "attr").mkdir(parents=True)
        (folder / "attr/current").write_text(f"{context}\0")
        (folder / "cmdline").write_text("whatever it says\0")
        (folder / "status").write_text(f"Name: x\nUid: {uids}\n".replace(" ", "\t"))
        (folder / "exe").symlink_to(program)
        (folder / "root").symlink_to("/")

    def label(self, path: Path) -> str:
        return file_type(self.labels[str(path)])

    def listener(self, path: Path) -> str:
        assert path.name == "pam.sock"
        return AGENT

    def ask(self, name: str, question: str) -> str:
        source, target, number = question.split()
        source_type, target_type = source.split(":")[2], target.split(":")[2]
        if target_type in self.unknown:
            raise OSError(errno.EINVAL, os.strerror(errno.EINVAL))
        if name == "create":
            assert int(number) == INDEX["process"]
            return domain(self.transitions.get((source_type, target_type), source_type))
        assert name == "access"
        rights = self.allowed.get(source_type, set())
        kind = next(kind for kind, index in INDEX.items() if index == int(number))
        bits = sum(1 << PERMISSIONS[one] - 1 for one in rights if one.startswith(f"{kind}/"))
        return f"{bits:x} ffffffff 0 ffffffff 5 {int(source_type in self.permissive)}"


@pytest.fixture
def kernel(trusted_folder: Path) -> PlayedKernel:
    (trusted_folder / "iampass").mkdir()
    (trusted_folder / "iampass/pam.sock").touch()
    return PlayedKernel(trusted_folder)


def found(kernel: PlayedKernel, *services: AskingService, labels: str = "") -> list[Problem]:
    def matchpathcon(command: Sequence[str]) -> CommandResult:
        assert command[0] == "matchpathcon"
        return CommandResult(0, labels, "")

    place = kernel.root.parent / "iampass"
    return list(SelinuxCheck(kernel, place / "pam.sock", (place,), matchpathcon).findings(services))


def test_without_selinux_the_kernel_knows_no_context_of_a_listener(trusted_folder: Path) -> None:
    path = trusted_folder / "socket"
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen()
        try:
            context = Kernel().listener(path)
        except OSError as error:
            if error.errno != errno.ENOPROTOOPT:
                raise
        else:
            assert context  # of another security module


def test_a_session_of_sshd_in_a_domain_that_may_not_connect_is_found_before_anybody_logs_in(
    kernel: PlayedKernel,
) -> None:
    kernel.process(7, SSHD, domain("sshd_t", "s0-s0:c0.c1023"))
    [problem] = found(kernel, SSHD_SERVICE, LOGIN_SERVICE)
    assert problem.kind == "selinux-denies"
    assert "sshd_session_t may not connect" in problem.what
    assert problem.evidence.startswith(f"{SESSION} runs in sshd_session_t; the kernel says: ")
    assert "pam_iampass_client(sshd_session_t)" in problem.remedy


def test_nothing_is_found_where_the_domain_may_connect(kernel: PlayedKernel) -> None:
    kernel.allowed["sshd_session_t"] = kernel.allowed["sshd_t"]
    assert found(kernel, SSHD_SERVICE, LOGIN_SERVICE) == []


@pytest.mark.parametrize("right", sorted(PERMISSIONS))
def test_each_right_on_the_way_to_the_agent_is_needed(kernel: PlayedKernel, right: str) -> None:
    kernel.allowed["sshd_session_t"] = kernel.allowed["sshd_t"] - {right}
    [problem] = found(kernel, SSHD_SERVICE)
    kind, name = right.split("/")
    assert re.search(f"sshd_session_t:s0 may not {name} .* \\({kind}, ", problem.evidence)


def test_a_running_session_counts_whatever_the_next_one_runs_in(kernel: PlayedKernel) -> None:
    kernel.allowed["sshd_session_t"] = kernel.allowed["sshd_t"]
    kernel.process(8, SESSION, domain("site_session_t"))
    [problem] = found(kernel, SSHD_SERVICE)
    assert "site_session_t may not connect" in problem.what


def test_a_process_of_a_user_or_of_another_program_says_nothing_about_the_service(
    kernel: PlayedKernel,
) -> None:
    kernel.allowed["sshd_session_t"] = kernel.allowed["sshd_t"]
    kernel.process(8, SESSION, domain("user_t"), uids="1000 1000 1000 1000")
    kernel.process(9, "/tmp/sshd-session", domain("other_t"))
    assert found(kernel, SSHD_SERVICE) == []


def test_the_domain_of_the_running_sshd_decides_in_which_its_sessions_will_run(kernel: PlayedKernel) -> None:
    kernel.transitions["site_sshd_t", "sshd_session_exec_t"] = "site_session_t"
    kernel.allowed["sshd_session_t"] = kernel.allowed["sshd_t"]
    kernel.process(7, SSHD, domain("site_sshd_t"))
    [problem] = found(kernel, SSHD_SERVICE)
    assert "site_session_t may not connect" in problem.what


def test_an_sshd_without_a_program_for_sessions_asks_in_its_own_domain(kernel: PlayedKernel) -> None:
    service = AskingService("pam_iampass_sshd", (SSHD,))
    assert found(kernel, service) == []
    del kernel.allowed["sshd_t"]
    [problem] = found(kernel, service)
    assert "sshd_t may not connect" in problem.what


def test_a_domain_whose_denials_are_only_recorded_is_not_kept_out(kernel: PlayedKernel) -> None:
    kernel.permissive.add("sshd_session_t")
    assert found(kernel, SSHD_SERVICE) == []


def test_the_boolean_that_is_off_is_named(kernel: PlayedKernel) -> None:
    kernel.allowed.clear()
    kernel.write("booleans/pam_iampass_local", "0 0")
    [problem] = found(kernel, LOGIN_SERVICE)
    assert "pam_iampass_local is off" in problem.what
    assert problem.remedy == "setsebool -P pam_iampass_local on"
    assert "/usr/bin/login runs in local_login_t" in problem.evidence


def test_without_our_policy_the_package_is_named(kernel: PlayedKernel) -> None:
    kernel.unknown.add("pam_iampass_runtime_t")  # what has the label that the policy brought
    (kernel.root / "booleans/pam_iampass_sshd").unlink()
    [problem] = found(kernel, SSHD_SERVICE)
    assert "it has no policy for pam-iampass" in problem.what
    assert problem.remedy.startswith("Install pam-iampass-selinux")


@pytest.mark.parametrize("enforce", ["0", None])
def test_nothing_is_denied_unless_selinux_enforces(kernel: PlayedKernel, enforce: str | None) -> None:
    (kernel.root / "enforce").unlink()
    if enforce is not None:
        kernel.write("enforce", enforce)
    assert found(kernel, SSHD_SERVICE, labels="/etc/iampass has context x, should be y") == []


def test_a_wrong_label_is_found_also_where_the_agent_has_no_socket(kernel: PlayedKernel) -> None:
    (kernel.root.parent / "iampass/pam.sock").unlink()
    [problem] = found(kernel, SSHD_SERVICE, labels="/etc/iampass/x has context a, should be b\n")
    assert problem.evidence == "/etc/iampass/x has context a, should be b"
