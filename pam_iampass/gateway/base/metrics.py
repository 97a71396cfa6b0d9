"""Metrics of a gateway, for Prometheus. `monitoring.py` serves them.

No label has anything that a host, a person or IAMPASS can choose: each has one of a few values that are known here.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from prometheus_client import CollectorRegistry, Counter, Histogram, disable_created_metrics

from pam_iampass.audit.figures import ANSWER_BUCKETS, OTHER, SERVICES, service_label
from pam_iampass.client.errors import Declined, NotFound, Refused
from pam_iampass.gateway.base.reasons import Reason
from pam_iampass.outcome import Outcome

PREFIX = "iampass_gateway"

disable_created_metrics()  # type: ignore[no-untyped-call]
REGISTRY = CollectorRegistry()
"""The metrics of this process."""
_OPTIONS: dict[str, Any] = {"registry": REGISTRY, "namespace": PREFIX}

STARTS = Counter(
    "starts", "Answers to requests of hosts, by the reason why none was made.", ("answer",), **_OPTIONS
)
DECISIONS = Counter("decisions", "Requests of hosts that have ended.", ("outcome", "service"), **_OPTIONS)
REFUSED = Counter(
    "refused", "Calls that were refused, such as those with a wrong signature.", ("status",), **_OPTIONS
)
ALERTS = Counter("alerts", "Alerts that were written to journal and database.", **_OPTIONS)
DATABASE_FAILURES = Counter(
    "database_failures",
    "Transactions that have failed: the database was away, or it is not known whether they happened.",
    ("kind",),
    **_OPTIONS,
)
CALLS = Histogram(
    "iampass_seconds",
    "How long calls of IAMPASS took, each attempt counted separately.",
    ("call", "result"),
    buckets=(0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 20),
    **_OPTIONS,
)
ANSWERS = Histogram(
    "answer_seconds",
    "How long it took from a request to the answer of the person.",
    ("outcome",),
    buckets=ANSWER_BUCKETS,
    **_OPTIONS,
)

_HERE = dict.fromkeys(
    (
        *(Outcome.APPROVED, Outcome.COVERED, Outcome.TIMED_OUT, Outcome.CANCELLED, Outcome.NO_DEVICE),
        *(reason.outcome for reason in Reason),
    )
)
"""How requests can end at a gateway. The others are a host's own."""

# What has not happened yet is 0: a rate needs the value before the first time.
for _kind in ("away", "unknown"):
    DATABASE_FAILURES.labels(_kind)
for _service in (*SERVICES, OTHER):
    for _outcome in _HERE:
        DECISIONS.labels(_outcome.value, _service)


def decided(outcome: Outcome, service: str) -> None:
    """Count the end of a request; the host has named the service."""
    DECISIONS.labels(outcome.value, service_label(service)).inc()


@contextmanager
def timed(call: str) -> Iterator[None]:
    """Measures one attempt to make a call of IAMPASS, whose name is ours."""
    began, result = time.monotonic(), "failed"
    try:
        yield
        result = "answered"
    except (NotFound, Declined):
        result = "answered"
        raise
    except Refused:
        result = "refused"
        raise
    finally:
        CALLS.labels(call, result).observe(time.monotonic() - began)
