"""The pages about all findings: docs/reference/findings.md, and docs/reference/gateway-findings.md for those of the
gateway."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from pam_iampass.check.catalogue import SECTIONS, FindingKind
from pam_iampass.gateway.check import catalogue

_START = """\
<!-- Made by `make pages`; change `pam_iampass/check/catalogue.py` instead. -->
# Findings of pam-iampass check

`pam-iampass check` finds what makes logins fail, or lets users in without a factor that they need. It changes nothing
and sends no request to a phone. Run it as root. `pam-iampass check --settings` looks at files only.

`check` shows each finding with its subject, evidence and remedy. Here, a remedy stands only where it says what the
finding means. The exit status is 1 if there is an error, 3 if there are only warnings, and 0 otherwise.

| severity | meaning |
| --- | --- |
| error | logins fail, or users get in without a factor that they need |
| warning | it works, but not as intended, or not for everybody |
| note | information |

With `--monitoring`, warnings that are normal while you add users and services one by one are notes.

`check` simulates PAM stacks as libpam runs them, with right and wrong first factors, and with each result of our
module. It knows the results of common modules. For others it tries success and failure.
"""


_GATEWAY_START = """\
<!-- Made by `make pages`; change `pam_iampass/gateway/check/catalogue.py` instead. -->
# Findings of pam-iampass-gateway check

`pam-iampass-gateway check` finds why hosts cannot send requests. It changes nothing and sends no request to a phone.
Run it as root on the gateway. Severities and exit status are those of [`pam-iampass check`](findings.md).
"""


def page() -> str:
    """The page about a host."""
    return _page(_START, SECTIONS)


def gateway_page() -> str:
    """The page about a gateway."""
    return _page(_GATEWAY_START, catalogue.SECTIONS)


def _page(start: str, sections: Mapping[str, Sequence[FindingKind]]) -> str:
    parts = [start]
    for section, kinds in sections.items():
        parts += [f"\n## {section}\n", *(_entry(kind) for kind in kinds)]
    return "\n".join(parts)


def _entry(kind: FindingKind) -> str:
    normal = ", with `--monitoring` a note" if kind.rollout else ""
    remedy = "" if kind.meaning or kind.remedy == "{remedy}" else f"\nRemedy: {_readable(kind.remedy)}\n"
    meaning = f"\n{kind.meaning}\n" if kind.meaning else ""
    return f"### {kind.id}\n\n**{kind.severity.value}**{normal}: {_readable(kind.title)}\n{meaning}{remedy}"


def _readable(template: str) -> str:
    """A template with its variables in capitals."""
    return re.sub(r"\{(\w+)\}", lambda word: f"*{word.group(1).upper().replace('_', ' ')}*", template)
