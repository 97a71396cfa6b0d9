"""Policies in which sshd's sessions run in a domain of their own. After the rules, whose use is not recorded here."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest

from tests.packages.people import got_in
from tests.support.terminal import Terminal
from tests.vm.site import Site

PROGRAM = "/usr/lib/openssh/sshd-session"
POLICY = "/etc/selinux/default"


@pytest.fixture
def domain(site: Site, request: pytest.FixtureRequest) -> Iterator[str]:
    """The domain in which sshd's sessions run."""
    name = str(request.param)
    site.set_up("sshd", "--no-prompt")
    site.machine.shell(
        f"""
        cp -a {POLICY} /root/policy-before
        cp /root/{name}-policy {POLICY}/policy/policy.*
        cd {POLICY}/contexts
        sed -i '/system_r:sshd_t:/{{p; s//system_r:{name}_t:/}}' default_contexts users/*
        load_policy
        chcon -t {name}_exec_t {PROGRAM}
        """
    )
    yield f"{name}_t"
    Terminal.kill_all()
    site.machine.wait(f"! ps -eo label= | grep -q :{name}_t:", "sshd's sessions have ended")
    site.machine.shell(
        f"""
        restorecon {PROGRAM}
        cp -a /root/policy-before/. {POLICY}
        rm -r /root/policy-before
        load_policy
        """
    )


def denied(site: Site) -> list[dict[str, str]]:
    """What check says of SELinux."""
    report = json.loads(site.machine.run("pam-iampass", "check", "--json", check=False).stdout)
    assert not [each for each in report["not_looked_at"] if "SELinux" in each]
    return [each for each in report["findings"] if each["id"] == "selinux-denies"]


@pytest.mark.parametrize("domain", ["sshd_other"], indirect=True)
@pytest.mark.denied("sshd_other_t")
def test_sessions_in_a_domain_that_our_policy_does_not_know_do_not_reach_the_agent(
    site: Site, domain: str
) -> None:
    [found] = denied(site)  # before anybody has tried to log in
    assert found["evidence"].startswith(f"{PROGRAM} runs in {domain}; ")
    assert f"pam_iampass_client({domain})" in found["remedy"]
    login = site.ssh("alice")
    assert not got_in(login, "alice")
    assert "The IAMPASS agent" in login.shown


@pytest.mark.parametrize("domain", ["sshd_session"], indirect=True)
def test_sessions_in_the_domain_of_newer_policies_reach_the_agent(site: Site, domain: str) -> None:
    assert denied(site) == []
    login = site.ssh("alice", "ps -eo label= | grep :sshd_session_t:; echo In as $(id -un).")
    site.approve("alice")
    login.expect(f":{domain}:")
    assert got_in(login, "alice")
