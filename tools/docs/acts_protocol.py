"""The page about the calls of the portal, `docs/inside/acts-protocol.md`."""

from __future__ import annotations

import inspect
from collections.abc import Iterable
from typing import Annotated, Any, get_origin, get_type_hints

from pam_iampass.gateway.serving.acts_service import (
    BOUNDS,
    MOST_AT_ONCE,
    MOST_HELD,
    MOST_HELD_OF_ONE,
    MOST_OF_STRANGERS,
    STRANGERS_WAIT,
)
from pam_iampass.gateway.serving.acts_views import MOST
from pam_iampass.portal.calls import COMMON, Call, Error

_HEAD = f"""\
<!-- Made by `make pages` from `pam_iampass/portal/calls.py`. -->
# The calls of the portal: what the portal asks a gateway

The portal is a process without rights of its own. For everything that it shows and does, it calls a gateway at
`/run/iampass-gateway/acts.sock`. This page is for reviewers. `pam_iampass/portal/calls.py` declares each call and says
what its fields mean, `gateway/serving/acts_views.py` the views and their filters, `fleet/results.py` the results of
acts.

**Who can connect**: the user `_iampass-portal` and root, by the mode of the socket and by the peer that the kernel
names. The gateway does not trust the portal. It checks each call as an attacker's, and demands proof from the person.
[fleet-security.md](../fleet/fleet-security.md) says what an attacker in the portal can do.

**Which process answers**: `pam-iampass-gateway serve-acts`, apart from `pam-iampass-gateway serve`, so that calls of
the portal hold up no login. `pam-iampass-gateway-acts.socket` starts it at the first call.

## A call

A call is HTTP: a POST with a JSON object (`Content-Type: application/json`), answered with a JSON object. Unknown
fields, repeated keys and `null` are errors. Times are ISO 8601 with an offset; durations are seconds.

| limit | value |
| --- | --- |
| body | {BOUNDS.body // 1024} KiB |
| rows of a view | {MOST} |
| connections | {BOUNDS.of_one_address} of the portal, {BOUNDS.connections} in all |
| a complete request | within {BOUNDS.seconds:.0f} s |
| calls of one sign-in, or of one link, at a time | {MOST_AT_ONCE} |
| calls without a token, or with an unknown one, at a time | {MOST_OF_STRANGERS}, and {STRANGERS_WAIT} that wait |
| calls that wait for a phone | {MOST_HELD}, and {MOST_HELD_OF_ONE} for one person. Others are answered at once |

## In which order

- **To sign in**: `/sign-in/challenge`, in the browser `navigator.credentials.get()`, `/sign-in`. The token goes into
  the cookie.
- **To use a link**: `/link/challenge`. If it answers `phone: true`, `/link/ring`, and `/link/answer` until `approved`.
  Then in the browser `navigator.credentials.create()`, and `/link`.
- **To do an act** that needs the phone: `/phone/ring`, and `/phone/answer` until `approved`. If it needs a touch,
  `/act/challenge` with the same parameters, and in the browser `navigator.credentials.get()`. Then `/act`.

[acts.md](../reference/acts.md) says what an act needs. A link is `/link#TOKEN`. Browsers do not send the part after
`#`, so the page sends it. Challenges and approvals are valid for two minutes, once, and only for what they were asked
for.

The page makes the id of an act (`once`), and the gateway uses the id up in the transaction of the act. A second call
with this id, as after a second press of the button, does nothing: it waits for the first outcome and returns that,
without links and codes. If the gateway has restarted since then, it does not know the outcome, and answers
`UNKNOWN_OUTCOME`.

## Calls

Fields in brackets are optional.

"""


def page() -> str:
    """The page."""
    calls = _table(("call", "what it does", "fields", "answer"), map(_call, Call.__subclasses__()))
    return f"{_HEAD}{calls}{_errors()}"


def _call(cls: type[Call[Any]]) -> tuple[str, ...]:
    parameters = inspect.signature(cls).parameters
    fields = (
        f"[`{name}`]" if parameters[name].default is not inspect.Parameter.empty else f"`{name}`"
        for name in _declared(cls)
    )
    answer = (f"`{name}`" for name in _declared(cls.ANSWER))
    return f"`{cls.PATH}`", " ".join((cls.__doc__ or "").split()), ", ".join(fields), ", ".join(answer)


def _declared(of: type[Any]) -> list[str]:
    """The fields that are annotated."""
    hints = get_type_hints(of, include_extras=True)
    return [name for name, hint in hints.items() if get_origin(hint) is Annotated]


def _errors() -> str:
    rows = (
        (f"`{error.name}`", str(error.status), error.words, "all calls" if error in COMMON else "some")
        for error in Error
    )
    return (
        '\n## Errors\n\nAn error has its HTTP status and a body such as `{"error": "BAD_FIELD", "detail": "is no IP'
        ' address", "parameter": "remote"}`.\n`parameter` is there only with `BAD_FIELD`: the name of a field, or of a'
        f" member of one (`filter.since`).\n\n{_table(('error', 'status', 'what', 'of'), rows)}"
    )


def _table(head: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> str:
    lines = [head, ("---",) * len(head), *rows]
    return "".join(f"| {' | '.join(cells)} |\n" for cells in lines)
