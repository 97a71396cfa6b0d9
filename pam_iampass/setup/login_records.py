"""The logins through a service since a moment, according to the journal."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime, timezone

from pam_iampass.audit.query import AuditLog, Filter
from pam_iampass.audit.record import AuditRecord
from pam_iampass.system import programs


def records(since: float, pam_services: Iterable[str]) -> list[AuditRecord]:
    """The audit records of these PAM services since then, the oldest first. Raises NoJournal."""
    if programs.find("journalctl") is not None:
        programs.run(["journalctl", "-q", "--sync"])
    moment = datetime.fromtimestamp(since, timezone.utc)
    return AuditLog(Filter(services=frozenset(pam_services), since=moment)).last(None)
