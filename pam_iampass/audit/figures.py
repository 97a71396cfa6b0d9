"""Figures for Prometheus as text, which node_exporter's textfile collector reads, and how they name PAM services.

No label has anything that a person or a remote side can choose.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

SERVICES = frozenset(
    (
        *("sshd", "sudo", "sudo-i", "su", "su-l", "doas", "polkit-1", "login", "cockpit", "cron", "vsftpd"),
        *("gdm-password", "lightdm", "sddm", "kde", "xrdp-sesman"),
    )
)
"""The PAM services with a label of their own; others are `other`."""
OTHER = "other"

ANSWER_BUCKETS = (2, 5, 10, 15, 20, 30, 45, 60, 90, 300)
"""The buckets of the time that people take to answer. Seconds."""


def service_label(service: str) -> str:
    """The label of a PAM service, also of one that a user has named."""
    return service if service in SERVICES else OTHER


@dataclass(frozen=True)
class Sample:
    """One value."""

    value: float
    labels: Mapping[str, str] | None = None
    suffix: str = ""
    """The text that a histogram or a summary adds to the name: `_bucket`, `_sum` or `_count`."""


def family(name: str, kind: str, what: str, samples: Iterable[Sample]) -> str:
    """All samples of one name in Prometheus's text format. The `kind` is counter, gauge, histogram or summary."""
    lines = [f"# HELP iampass_{name} {what}", f"# TYPE iampass_{name} {kind}"]
    for sample in samples:
        labels = ",".join(f'{key}="{_escaped(value)}"' for key, value in (sample.labels or {}).items())
        lines.append(f"iampass_{name}{sample.suffix}{f'{{{labels}}}' if labels else ''} {sample.value}")
    return "\n".join(lines) + "\n"


def _escaped(text: str) -> str:
    return text.replace("\\", r"\\").replace('"', r"\"").replace("\n", r"\n")
