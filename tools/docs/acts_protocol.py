"""The page about the calls of the portal, `docs/inside/acts-protocol.md`."""

from __future__ import annotations

import inspect
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Annotated, Any, Callable, get_args, get_origin, get_type_hints

from pam_iampass.fleet import DECLARED
from pam_iampass.gateway.serving.acts_service import BOUNDS
from pam_iampass.gateway.serving.acts_views import MOST, VIEWS
from pam_iampass.portal.calls import COMMON, Call, Error

_HEAD = f"""\
<!-- Made by `make pages` from `pam_iampass/portal/calls.py`, `gateway/serving/acts_views.py` and `fleet/`. -->
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

**An act** that needs a touch ([acts.md](../reference/acts.md)): `/act/challenge` with just these parameters,
`navigator.credentials.get()`, `/act`. If it also needs the phone: `/phone/ring` and `/phone/answer` first. Challenges
and approvals are good for two minutes, once, and for just what they were asked for.

Each act has an id (`once`) that the page has made. The gateway spends it in the act's transaction, until the sign-in
ends. A second call with this id, as after a second press of the button, does nothing: it waits for the first outcome
and reports it, without links and codes. A gateway that has restarted since then does not know the outcome and answers
`UNKNOWN_OUTCOME`.
"""


def page() -> str:
    """The page."""
    parts = [
        _HEAD,
        _ORDER,
        "\n## Calls\n",
        *map(_call, Call.__subclasses__()),
        _views(),
        _results(),
        _errors(),
    ]
    return "".join(parts)


def _call(cls: type[Call[Any]]) -> str:
    more = ", ".join(f"`{error.name}`" for error in cls.ERRORS)
    return f"\n### `{cls.PATH}`\n\n{_text(cls)}\n\n{_sent(cls)}\nAnswer:\n\n{_answered(cls.ANSWER)}" + (
        f"\nErrors, besides those of all calls: {more}.\n" if more else ""
    )


def _declared(of: Callable[..., object]) -> dict[str, tuple[str, str]]:
    """The type of each field of a class or parameter of a function that is annotated, and what it is."""
    hints = get_type_hints(of, include_extras=True)
    return {
        name: (_kind(hint.__origin__), hint.__metadata__[-1])
        for name, hint in hints.items()
        if get_origin(hint) is Annotated
    }


def _sent(of: Callable[..., object]) -> str:
    parameters = inspect.signature(of).parameters
    rows = []
    for name, (kind, what) in _declared(of).items():
        is_needed = parameters[name].default is inspect.Parameter.empty
        kind = kind.replace(" or null", "")
        rows.append((f"`{name}`", kind if is_needed else f"{kind}, optional", what))
    return _table(("field", "type", "what"), rows)


def _answered(cls: type[Any]) -> str:
    rows = ((f"`{name}`", kind, what) for name, (kind, what) in _declared(cls).items())
    return _table(("member", "type", "what"), rows)


def _views() -> str:
    parts = [
        "\n## Views\n\nThe fields of the rows, and who sees them: [acts.md](../reference/acts.md)."
        f" At most {MOST} rows are answered.\n"
    ]
    for name, read in VIEWS.items():
        parts.append(f"\n### `{name}`\n\n{_text(read)}\n")
        if _declared(read):
            parts.append(f"\n{_sent(read)}")
    return "".join(parts)


def _results() -> str:
    rows = []
    for name, act in sorted(DECLARED.items()):
        if not act.declared.by:
            continue
        told = "; ".join(
            f"`{member}`: {what}" for member, (_, what) in _declared(act.declared.result).items()
        )
        rows.append((f"`{name}`", told or "-"))
    return f"\n## What an act results in\n\n{_table(('act', '`result`'), rows)}"


def _errors() -> str:
    rows = (
        (f"`{error.name}`", str(error.status), error.words, "all calls" if error in COMMON else "some")
        for error in Error
    )
    return f"\n## Errors\n\n{_table(('error', 'status', 'what', 'of'), rows)}"


_KINDS = {
    str: "text",
    bool: "true or false",
    int: "number",
    float: "number",
    datetime: "time",
    tuple: "list",
    Sequence: "list",
    Mapping: "object",
}


def _kind(hint: Any) -> str:
    """The type of a value in JSON."""
    if type(None) in get_args(hint):
        return f"{_kind(get_args(hint)[0])} or null"
    return _KINDS[get_origin(hint) or hint]


def _text(of: object) -> str:
    return " ".join((of.__doc__ or "").split())


def _table(head: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> str:
    lines = [head, ("---",) * len(head), *rows]
    return "".join(f"| {' | '.join(cells)} |\n" for cells in lines)
