"""The page about the calls of the portal, `docs/acts-protocol.md`."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Annotated, Any, Union, get_args, get_origin, get_type_hints

from pam_iampass.gateway.acts_calls import CALLS
from pam_iampass.gateway.acts_results import RESULTS
from pam_iampass.gateway.acts_service import BOUNDS, COMMON, Call, Error, fields_of
from pam_iampass.gateway.acts_views import MOST, VIEWS

_HEAD = f"""\
<!-- Made by `make pages` from `pam_iampass/gateway/acts_calls.py`, `acts_views.py` and `acts_results.py`. -->
# The calls of the portal

`pam-iampass-gateway serve-acts` answers these calls at `/run/iampass-gateway/acts.sock`. Only the user
`_iampass-portal` and root can connect (the socket's mode, and the kernel's word about the peer). The service is a
process of its own beside `pam-iampass-gateway serve`, with its own connections to the database: what the portal asks
for holds up no login. It is off until `portal` is in the settings and somebody switches its socket on:

    systemctl enable --now pam-iampass-gateway-acts.socket

The first call starts the service. `systemctl restart pam-iampass-gateway` restarts it, too, so that both have read the
same settings.

The portal is not trusted. What it sends is checked as if it came from an attacker; that it is the portal proves nothing
about the person. While somebody else controls it, it is everybody who uses it: it can do what they can do with the
touches that they make, and it approves no login. It is told neither why a proof was refused nor whether a name exists
that the person may not see.

Each call is HTTP, a POST with a JSON object (`Content-Type: application/json`) of {BOUNDS.body // 1024} KiB at most,
and is answered with a JSON object. Fields that are not listed, repeated keys and `null` are errors. An error is
answered with its HTTP status and

    {{"error": "BAD_FIELD", "detail": "is no IP address", "parameter": "remote"}}

`parameter` is there only with BAD_FIELD: a field, or a member of one (`parameters.person`, `filter.since`). Times are
ISO 8601 with an offset; durations are seconds. The portal has {BOUNDS.of_one_address} connections at most, and a
request must be complete within {BOUNDS.seconds:.0f} s.

`pam_iampass/portal/gateway.py` is a client of these calls.
"""

_ORDER = """
## In which order

**Signing in**: `/sign-in/challenge`, `navigator.credentials.get()`, `/sign-in`. The token that is answered is the
cookie.

**A link** (`/link#TOKEN`: browsers do not send what stands behind `#`, so the page sends it): `/link/challenge`. With
`phone`, `/link/ring` and `/link/answer` until the state is `approved`. Then `navigator.credentials.create()` and
`/link`, which spends the link and signs nobody in.

**An act** that needs a touch ([acts.md](acts.md)): `/act/challenge` with just these parameters,
`navigator.credentials.get()`, `/act`. If it also needs the phone: `/phone/ring` and `/phone/answer` first. Challenges
and approvals are good for two minutes, once, and for just what they were asked for.
"""


def page() -> str:
    """The page."""
    parts = [_HEAD, _ORDER, "\n## Calls\n", *map(_call, CALLS.values()), _views(), _results(), _errors()]
    return "".join(parts)


def _call(cls: type[Call]) -> str:
    declared = cls.declared
    more = ", ".join(f"`{error.name}`" for error in declared.errors)
    return (
        f"\n### `{declared.path}`\n\n{_text(cls)}\n\n"
        f"{_sent(cls)}\nAnswer:\n\n{_answered(declared.answer)}"
        + (f"\nErrors, besides those of all calls: {more}.\n" if more else "")
    )


def _sent(cls: type[Any]) -> str:
    hints, fields = get_type_hints(cls), fields_of(cls)
    rows = []
    for each in dataclasses.fields(cls):
        needed = each.default is dataclasses.MISSING and each.default_factory is dataclasses.MISSING
        kind = _kind(hints[each.name]).replace(" or null", "")
        rows.append((f"`{each.name}`", kind if needed else f"{kind}, optional", fields[each.name].doc))
    return _table(("field", "type", "what"), rows)


def _answered(cls: type[Any]) -> str:
    hints = get_type_hints(cls, include_extras=True)
    rows = ((f"`{name}`", _kind(hint.__origin__), hint.__metadata__[0]) for name, hint in hints.items())
    return _table(("member", "type", "what"), rows)


def _views() -> str:
    parts = [
        "\n## Views\n\nThe fields of the rows, and who sees them: [acts.md](acts.md)."
        f" At most {MOST} rows are answered.\n"
    ]
    for name, cls in VIEWS.items():
        parts.append(f"\n### `{name}`\n\n{_text(cls)}\n")
        if fields_of(cls):
            parts.append(f"\n{_sent(cls)}")
    return "".join(parts)


def _results() -> str:
    rows = []
    for cls, result in sorted(RESULTS.items(), key=lambda each: each[0].declared.name):
        hints = get_type_hints(result.answer, include_extras=True)
        told = "; ".join(f"`{name}`: {hint.__metadata__[0]}" for name, hint in hints.items())
        rows.append((f"`{cls.declared.name}`", told or "-"))
    return f"\n## What an act results in\n\n{_table(('act', '`result`'), rows)}"


def _errors() -> str:
    rows = (
        (f"`{error.name}`", str(error.status), error.words, "all calls" if error in COMMON else "some")
        for error in Error
    )
    return f"\n## Errors\n\n{_table(('error', 'status', 'what', 'of'), rows)}"


def _kind(hint: Any) -> str:
    """The type of a value in JSON."""
    if get_origin(hint) is Annotated:
        return _kind(get_args(hint)[0])
    given = [each for each in get_args(hint) if each is not type(None)]
    if type(None) in get_args(hint):
        return f"{_kind(Union[tuple(given)])} or null" if len(given) > 1 else f"{_kind(given[0])} or null"
    origin = get_origin(hint) or hint
    if origin in (list, tuple):
        return "list"
    if origin in (dict, Mapping) or getattr(origin, "__name__", "") == "Mapping":
        return "object"
    return {str: "text", bool: "true or false", int: "number", float: "number", datetime: "time"}[origin]


def _text(cls: type[Any]) -> str:
    return " ".join((cls.__doc__ or "").split())


def _table(head: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> str:
    lines = [head, ("---",) * len(head), *rows]
    return "".join(f"| {' | '.join(cells)} |\n" for cells in lines)
