"""The page `docs/doctor.md`, about all findings of `pam-iampass doctor`."""

from __future__ import annotations

import re

from pam_iampass.doctor.catalogue import SECTIONS
from pam_iampass.doctor.finding import FindingKind

_START = """\
<!-- Made by `python3 -m tools.docs pages`; change `pam_iampass/doctor/catalogue.py` instead. -->
# Findings of pam-iampass doctor

`pam-iampass doctor` looks for causes of failing logins, and for ways in without the second factor. It changes nothing,
and no phone rings. Run it as root; otherwise the report ends with what could not be examined.

Each finding has an id, a severity, a subject, one line of evidence and one line of advice. The exit status is 1 if
there is an error, 3 if there are only warnings, and 0 otherwise.

| severity | |
| --- | --- |
| error | logins fail, or users get in who should not |
| warning | it works, but not as intended, or not for all users |
| note | information |

PAM stacks are simulated as libpam runs them: with right and wrong first factors, and with every answer of this module
(approved, denied, ignored, crashed, missing). For the usual modules of other packages the answers are known; for all
others every answer is tried.
"""


def page() -> str:
    """The whole page."""
    parts = [_START]
    for section, kinds in SECTIONS.items():
        parts += [f"\n## {section}\n", *(_entry(kind) for kind in kinds)]
    return "\n".join(parts)


def _entry(kind: FindingKind) -> str:
    remedy = "see the finding." if kind.remedy == "{remedy}" else _readable(kind.remedy)
    return (
        f"### {kind.id}\n\n**{kind.severity.value}**: {_readable(kind.title)}\n\n{kind.meaning}\n\n"
        f"What to do: {remedy}\n"
    )


def _readable(template: str) -> str:
    """A template with its variables in capitals."""
    return re.sub(r"\{(\w+)\}", lambda word: f"*{word.group(1).upper().replace('_', ' ')}*", template)
