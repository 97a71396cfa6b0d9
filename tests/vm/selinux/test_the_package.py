"""Without the policy, and with it again. Last, because its use is not recorded afterwards."""

from __future__ import annotations

import pytest

from tests.packages.people import got_in
from tests.vm.site import AGENT, Site


@pytest.mark.denied("sshd_t", "unlabeled_t")  # the agent that still runs has no domain then
def test_check_finds_that_the_policy_is_missing_and_the_package_mends_it(site: Site) -> None:
    vm = site.machine
    site.set_up("sshd", "--no-prompt")
    vm.run("dpkg", "-r", "pam-iampass-selinux")
    check = vm.run("pam-iampass", "check", check=False).stdout
    assert "it has no policy for pam-iampass [selinux-denies]" in check
    assert not got_in(site.ssh("alice"), "alice")
    vm.run("sh", "-c", "dpkg -i /root/packages/pam-iampass-selinux_*.deb")
    vm.run("systemctl", "start", AGENT)  # which takes longer here than a login waits for it
    check = vm.run("pam-iampass", "check", check=False).stdout
    assert "SELinux" not in check
    login = site.ssh("alice")
    site.approve("alice")
    assert got_in(login, "alice")
