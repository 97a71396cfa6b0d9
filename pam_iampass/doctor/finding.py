"""The findings of `pam-iampass doctor`: each has a kind, evidence and a remedy."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

from pam_iampass.errors import Severity
from pam_iampass.system.trusted_folder import shell_word
from pam_iampass.text import clean

_RANK = {severity: rank for rank, severity in enumerate(Severity)}


@dataclass(frozen=True)
class FindingKind:
    """A kind of finding: `docs/doctor.md` lists them all."""

    id: str
    title: str
    """What is wrong, in a line; words in braces are filled in."""
    meaning: str
    """The explanation for the page."""
    remedy: str
    """What to do, in a line; words in braces are filled in."""
    severity: Severity


@dataclass(frozen=True)
class Finding:
    """One finding."""

    kind: FindingKind
    severity: Severity
    subject: str
    """What it is about: sshd, sudo, users and so on."""
    title: str
    evidence: str
    remedy: str

    @classmethod
    def of(
        cls,
        kind: FindingKind,
        subject: str,
        evidence: str,
        severity: Severity | None = None,
        **words: object,
    ) -> Finding:
        """A finding of this kind. `words` fill in its title and its remedy; everything is cleaned."""
        filled = {name: str(word) for name, word in words.items()}
        # A remedy is pasted into a root shell, and names of a directory may contain anything.
        pasted = {**filled, "name": shell_word(clean(filled.get("name", "")))}
        return cls(
            kind,
            severity or kind.severity,
            clean(subject),
            clean(kind.title.format(**filled), 2000),
            clean(evidence, 2000),
            clean(kind.remedy.format(**pasted), 2000),
        )


def merged(findings: Iterable[Finding]) -> list[Finding]:
    """The findings, the worst first. Findings that differ in their subjects only become one."""
    same: dict[tuple[str, str, str, str], Finding] = {}
    for finding in findings:
        key = (finding.kind.id, finding.title, finding.evidence, finding.remedy)
        if key in same:
            subjects = dict.fromkeys([*same[key].subject.split(", "), finding.subject])
            finding = replace(same[key], subject=", ".join(subjects))
        same[key] = finding
    return sorted(same.values(), key=lambda finding: _RANK[finding.severity])


def names(all_names: Iterable[str], limit: int = 5) -> str:
    """The first few names, and how many more there are."""
    found = list(all_names)
    first = [clean(name, 64) for name in found[:limit]]
    more = len(found) - len(first)
    return ", ".join([*first, f"and {more:,} more"] if more else first)
