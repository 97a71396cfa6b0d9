"""Makes a policy module in which sshd's sessions run in a domain of their own, as in newer reference policies.

As a program: reads the compiled policy of the machine, and writes the module as CIL. The domain may do what sshd_t may,
except what our module lets sshd_t do. Usage: second_domain.py POLICY DOMAIN EXECUTABLE-TYPE
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from typing import Any

import setools

OLD, OLD_FILE = "sshd_t", "sshd_exec_t"


def module(policy: Any, new: str, new_file: str) -> Iterator[str]:
    """The statements of the module; `policy` is a setools.SELinuxPolicy."""
    old = policy.lookup_type(OLD)
    for name, like in ((new, old), (new_file, policy.lookup_type(OLD_FILE))):
        yield f"(type {name})"
        for attribute in sorted(map(str, like.attributes())):
            if not attribute.startswith("pam_iampass"):
                yield f"(typeattributeset {attribute} ({name}))"
    yield from (f"(roletype {role} {new})" for role in policy.roles() if old in role.types())
    for rule in policy.terules():
        if not rule.enabled():
            continue
        kind, of = str(rule.ruletype), str(rule.tclass)
        # The rules of sets come with the attributes. What one session may do to another, it may do to sshd, too.
        sources, targets = (((OLD, new) if side == old else (side,)) for side in (rule.source, rule.target))
        for source, target in ((one, other) for one in sources for other in targets if new in (one, other)):
            if kind in ("allow", "dontaudit"):
                yield f"({kind} {source} {target} ({of} ({' '.join(sorted(rule.perms))})))"
            elif (
                kind == "type_transition" and len(str(rule).split()) == 4
            ):  # not those for one name of a file
                result = new if rule.default == old else rule.default
                yield f"(typetransition {source} {target} {of} {result})"
    # How a session comes into the domain.
    yield f"(typetransition {OLD} {new_file} process {new})"
    yield f"(allow {OLD} {new} (process (transition noatsecure rlimitinh siginh sigkill signal)))"
    yield f"(allow {OLD} {new_file} (file (execute getattr map open read)))"
    # Nothing has to be allowed to use the descriptors of its own domain. Without this it cannot even map its program.
    yield from (f"(allow {source} {target} (fd (use)))" for source, target in ((new, OLD), (OLD, new)))
    yield f"(allow {new} {new_file} (file (entrypoint execute execute_no_trans getattr map open read)))"


def main() -> None:
    """Write the module."""
    path, *names = sys.argv[1:]
    print("\n".join(dict.fromkeys(module(setools.SELinuxPolicy(path), *names))))


if __name__ == "__main__":
    main()
