"""What SELinux has denied, from the audit log of the machine."""

from __future__ import annotations

import re
from dataclasses import dataclass

from tests.vm.machine import Machine

_DENIED = re.compile(
    r"avc:\s+denied\s+\{ (?P<rights>[^}]*)\} .*?"
    r"scontext=[^:]*:[^:]*:(?P<source>[^: ]*)\S* tcontext=[^:]*:[^:]*:(?P<target>[^: ]*)\S* tclass=(?P<kind>\w+)"
)


@dataclass(frozen=True, order=True)
class Denial:
    """One right that one type does not have over another."""

    source: str
    target: str
    kind: str
    right: str


def denials(machine: Machine) -> set[Denial]:
    """Everything that was denied since the first boot, by the kernel and by D-Bus and systemd."""
    log = machine.shell("cat $(ls -r /var/log/audit/audit.log*)")
    assert "type=DAEMON_START" in log, "auditd does not run"
    log += machine.run(
        "journalctl", "-q", "-k", "-o", "cat", "--no-pager"
    ).stdout  # what was before auditd ran
    return {
        Denial(found["source"], found["target"], found["kind"], right)
        for found in _DENIED.finditer(log)
        for right in found["rights"].split()
    }
