"""Which rules of an SELinux module are used: makes auditallow rules of its allow rules, and reads what they recorded.

As a program: reads the module as CIL, and writes the module that records every use of its rules.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass

_ALLOW = re.compile(r"\(allow (?P<source>\S+) (?P<target>\S+) \((?P<kind>\S+) \((?P<rights>[^)]*)\)\)\)")
#: Rights that a program uses too often to record each time, and that hardly come alone.
_FREQUENT = frozenset(("getattr", "ioctl", "lock", "map", "read"))
_GRANTED = re.compile(
    r"avc:\s+granted\s+\{ [^}]*\} .*?"
    r"scontext=[^:]*:[^:]*:([^: ]*)\S* tcontext=[^:]*:[^:]*:([^: ]*)\S* tclass=(\w+)"
)


@dataclass(frozen=True, order=True)
class Rule:
    """Rights that a type or attribute has over another, for one class of objects."""

    source: str
    target: str
    kind: str


def rules(cil: str) -> Iterator[Rule]:
    """The rules of a module that are recorded and stand in no optional block, inside booleans too."""
    optional = 0
    for line in cil.splitlines():
        if line.strip().startswith("(optional ") or optional:
            optional += line.count("(") - line.count(")")
        elif _recorded(line):
            found = _ALLOW.search(line)
            assert found is not None
            yield Rule(found["source"], found["target"], found["kind"])


def used(log: str) -> set[Rule]:
    """The rules that an audit log shows as used, with the types that used them."""
    return {Rule(*found.groups()) for found in _GRANTED.finditer(log)}


def _recorded(line: str) -> str | None:
    """The auditallow rule for an allow rule, None where the use would be recorded too often."""
    found = _ALLOW.search(line)
    if found is None or (
        found["kind"] in ("dir", "lnk_file") and not found["target"].startswith("pam_iampass")
    ):
        return None
    rights = sorted(set(found["rights"].split()) - _FREQUENT)
    return (
        f"(auditallow {found['source']} {found['target']} ({found['kind']} ({' '.join(rights)})))"
        if rights
        else None
    )


def main() -> None:
    """Write the module that records."""
    for line in sys.stdin.read().splitlines():
        recorded = _recorded(line)
        if recorded:
            print(recorded)
        elif line.strip().startswith(("(booleanif ", "(true", "(false", "(optional ", ")")):
            print(line.replace("pam_iampass_optional", "auditing_optional"))


if __name__ == "__main__":
    main()
