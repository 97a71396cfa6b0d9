"""After the logins: which rules of our policy they used."""

from __future__ import annotations

from tests.vm.auditing import rules, used
from tests.vm.machine import Machine
from tests.vm.site import Site


def test_every_rule_is_used(vm: Machine, site: Site) -> None:
    log = vm.shell("cat /var/log/audit/audit.log*")
    cil = vm.read("/root/pam_iampass.cil")
    unused = set(rules(cil)) - used(log)
    for each in sorted(used(log)):
        print("used", each)
    assert not unused, "\n".join(map(str, sorted(unused)))
