"""What was found: each finding has a kind, the evidence for it, and what to do."""

from __future__ import annotations

import enum
from collections.abc import Iterable
from dataclasses import dataclass, replace

from pam_iampass.system.trusted_folder import shell_word
from pam_iampass.text import clean


class Severity(enum.Enum):
    """How bad a finding is; the worst one first."""

    ERROR = "error"
    """Logins fail, or somebody gets in who should not."""
    WARNING = "warning"
    """It works, but not as it should, or not for everybody."""
    NOTE = "note"
    """Good to know."""


RANK = {severity: rank for rank, severity in enumerate(Severity)}


@dataclass(frozen=True)
class Kind:
    """A kind of finding: `docs/doctor.md` lists them all."""

    id: str
    severity: Severity
    title: str
    """What is wrong, in a line; words in braces are filled in."""
    meaning: str
    """What that means, for the page."""
    remedy: str
    """What to do, in a line; words in braces are filled in."""


@dataclass(frozen=True)
class Finding:
    """One thing that was found."""

    kind: Kind
    severity: Severity
    subject: str
    """What it is about: sshd, sudo, users and so on."""
    title: str
    evidence: str
    remedy: str

    @classmethod
    def of(
        cls, kind: Kind, subject: str, evidence: str, severity: Severity | None = None, **words: object
    ) -> Finding:
        """A finding of this kind. `words` fill in its title and its remedy; everything is cleaned."""
        filled = {name: str(word) for name, word in words.items()}
        # A remedy is pasted into a root shell, and a directory may name its users as it likes.
        pasted = {**filled, "name": shell_word(clean(filled.get("name", "")))}
        return cls(
            kind,
            severity or kind.severity,
            clean(subject),
            _line(kind.title.format(**filled)),
            _line(evidence),
            _line(kind.remedy.format(**pasted)),
        )


def _line(text: str) -> str:
    return clean(text, 2000)


def merged(findings: Iterable[Finding]) -> list[Finding]:
    """The findings, worst first; those that differ in nothing but what they are about are told once."""
    same: dict[tuple[str, str, str, str], Finding] = {}
    for finding in findings:
        key = (finding.kind.id, finding.title, finding.evidence, finding.remedy)
        if key in same:
            subjects = dict.fromkeys([*same[key].subject.split(", "), finding.subject])
            finding = replace(same[key], subject=", ".join(subjects))
        same[key] = finding
    return sorted(same.values(), key=lambda finding: RANK[finding.severity])


def names(all_names: Iterable[str], most: int = 5) -> str:
    """Names in a line: the first few, and how many more there are."""
    found = list(all_names)
    shown = [clean(name, 64) for name in found[:most]]
    more = len(found) - len(shown)
    return ", ".join([*shown, f"and {more:,} more"] if more else shown)
