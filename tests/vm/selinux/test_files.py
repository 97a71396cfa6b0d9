"""What systemd-tmpfiles does with our folders and files: it makes them at boot, and deletes each day what is old."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.vm.denials import Denial
from tests.vm.machine import Machine
from tests.vm.site import AGENT, Site

STATE = "/var/lib/iampass"
METRICS = "/run/iampass/metrics/agent.prom"
FIGURES = (METRICS, "/run/iampass/pam-files.prom")
LOGINS = "/run/iampass/logins"


def test_at_boot_nothing_is_denied_to_us_or_of_ours(usual: set[Denial]) -> None:
    assert not [each for each in usual if "pam_iampass" in each.source + each.target]


@pytest.fixture
def without_agent(vm: Machine, site: Site, usual: set[Denial]) -> Iterator[None]:
    """The agent does not run, and has no state; afterwards it has the one from before."""
    vm.run("systemctl", "stop", AGENT)
    vm.run("mv", STATE, "/root/state")
    yield
    vm.shell(f"rm -rf {STATE}; mv /root/state {STATE}")
    vm.run("systemctl", "start", AGENT)


def test_what_is_missing_is_made_with_its_type_and_its_owner(vm: Machine, without_agent: None) -> None:
    vm.run("rm", "-f", *FIGURES)
    folders = ("--prefix=/run/iampass", f"--prefix={STATE}")
    vm.run("systemd-run", "--quiet", "--wait", "systemd-tmpfiles", "--create", *folders)
    made = vm.run("stat", "-c", "%n %a %U %C", STATE, *FIGURES).stdout.splitlines()
    assert made == [
        f"{STATE} 700 _iampass system_u:object_r:pam_iampass_state_t:s0",
        f"{METRICS} 644 _iampass system_u:object_r:pam_iampass_metrics_t:s0",
        f"{FIGURES[1]} 644 root system_u:object_r:pam_iampass_runtime_t:s0",
    ]


@pytest.fixture
def watched(vm: Machine, usual: set[Denial]) -> Iterator[str]:
    """The key under which the kernel records what the domain of systemd-tmpfiles does below /run/iampass."""
    rule = ["always,exit", "-F", "dir=/run/iampass", "-F", "subj_type=systemd_tmpfiles_t", "-k", "clean-up"]
    vm.run("auditctl", "-a", *rule)
    yield rule[-1]
    vm.run("auditctl", "-d", *rule)


def test_the_clean_up_looks_at_our_files_and_deletes_old_registrations_only(
    vm: Machine, site: Site, watched: str
) -> None:
    # It goes by the time of the last change too, which nobody can set: the clock was behind when the old one was made.
    vm.shell(
        f"""
        date -s '-4 days'
        touch {LOGINS}/old
        date -s '+4 days'
        touch {LOGINS}/new {" ".join(FIGURES)}
        """
    )
    vm.run("systemctl", "start", "systemd-tmpfiles-clean.service")
    assert vm.run("ls", LOGINS).stdout == "new\n"
    vm.run("rm", f"{LOGINS}/new")
    seen = vm.run("ausearch", "--input-logs", "--raw", "-k", watched).stdout
    for name in ("agent.prom", "pam-files.prom", "old", "new"):
        assert f'name="{name}"' in seen
