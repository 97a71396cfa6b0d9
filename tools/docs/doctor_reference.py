"""Writes the page `docs/doctor.md`: `python3 -m tools.docs.doctor_reference > docs/doctor.md`."""

from __future__ import annotations

import re
import sys

from pam_iampass.doctor.catalogue import SECTIONS
from pam_iampass.doctor.finding import FindingKind

_START = """\
<!-- Made by `python3 -m tools.docs.doctor_reference`; change `pam_iampass/doctor/catalogue.py` instead. -->
# What pam-iampass doctor finds

`pam-iampass doctor` looks for what makes logins fail, or lets somebody in who should not get in. It changes nothing,
and no phone rings. As root it sees the most; what it could not look at it says at the end.

Each finding has an id, a severity, what it is about, one line of evidence and one line of what to do. The exit status
is 1 where there is an error, 3 where there are only warnings, else 0.

| severity | |
| --- | --- |
| error | logins fail, or somebody gets in who should not |
| warning | it works, but not as it should, or not for everybody |
| note | good to know |

PAM stacks are played through as libpam plays them, with right and wrong first factors, and with everything that the
module may answer: approved, denied, ignored, crashed, missing. What a module of others answers is known for the usual
ones; of the rest every answer is tried.
"""


def page() -> str:
    """The whole page."""
    parts = [_START]
    for section, kinds in SECTIONS.items():
        parts += [f"\n## {section}\n", *(_entry(kind) for kind in kinds)]
    return "\n".join(parts)


def _entry(kind: FindingKind) -> str:
    return (
        f"### {kind.id}\n\n**{kind.severity.value}**: {_shown(kind.title)}\n\n{kind.meaning}\n\n"
        f"What to do: {_shown(kind.remedy)}\n"
    )


def _shown(template: str) -> str:
    """A template for a person: what is filled in stands in capitals."""
    if template == "{remedy}":
        return "the finding says it."
    return re.sub(r"\{(\w+)\}", lambda word: f"*{word.group(1).upper().replace('_', ' ')}*", template)


if __name__ == "__main__":
    sys.stdout.write(page())
