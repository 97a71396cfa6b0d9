"""Has anybody got in through a service since a moment: what the journal says."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime, timezone

from pam_iampass.audit.query import AuditLog, Filter
from pam_iampass.audit.record import AuditRecord
from pam_iampass.outcome import Result
from pam_iampass.system import programs


def records(since: float, pam_services: Iterable[str]) -> list[AuditRecord]:
    """The audit records of these PAM services since then, the oldest first. Raises NoJournal."""
    if programs.find("journalctl") is not None:
        programs.run(["journalctl", "-q", "--sync"])
    moment = datetime.fromtimestamp(since, timezone.utc)
    return AuditLog(Filter(services=frozenset(pam_services), since=moment)).last(None)


def passed(since: float, pam_services: Iterable[str]) -> frozenset[str]:
    """Those of the PAM services through which somebody has got in since. Raises NoJournal."""
    wanted = frozenset(pam_services)
    return frozenset(
        record.service for record in records(since, wanted) if record.result != Result.DENIED.value
    )
