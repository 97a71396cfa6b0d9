"""The page about the calls of the portal, `docs/inside/acts-protocol.md`."""

from __future__ import annotations

import inspect
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Annotated, Any, Callable, get_args, get_origin, get_type_hints

from pam_iampass.fleet import DECLARED
from pam_iampass.gateway.serving.acts_service import (
    BOUNDS,
    MOST_AT_ONCE,
    MOST_HELD,
    MOST_HELD_OF_ONE,
    MOST_OF_STRANGERS,
    STRANGERS_WAIT,
)
from pam_iampass.gateway.serving.acts_views import MOST, VIEWS
from pam_iampass.portal.calls import COMMON, Call, Error

_HEAD = f"""\
<!-- Made by `make pages` from `pam_iampass/portal/calls.py`, `gateway/serving/acts_views.py` and `fleet/`. -->
# The calls of the portal: what the portal asks a gateway

The portal is a process without rights of its own. For everything that it shows and does, it calls a gateway at
`/run/iampass-gateway/acts.sock`. This page lists these calls, for authors of another portal and for reviewers.
`pam_iampass/portal/gateway.py` is a client.

**Who can connect**: the user `_iampass-portal` and root, by the mode of the socket and by the peer that the kernel
names. The gateway does not trust the portal. It checks each call as an attacker's, and demands proof from the person.
[fleet-security.md](../fleet/fleet-security.md) says what an attacker in the portal can do.

**Which process answers**: `pam-iampass-gateway serve-acts`, apart from `pam-iampass-gateway serve`, so that calls of
the portal hold up no login. To switch it on, write `portal` into the settings, then:

    systemctl enable --now pam-iampass-gateway-acts.socket

The first call starts the process. `systemctl restart pam-iampass-gateway` restarts both, so that both read the same
settings.

## A call

A call is HTTP: a POST with a JSON object (`Content-Type: application/json`), answered with a JSON object. Unknown
fields, repeated keys and `null` are errors. Times are ISO 8601 with an offset; durations are seconds.

| limit | value |
| --- | --- |
| body | {BOUNDS.body // 1024} KiB |
| connections | {BOUNDS.of_one_address} of the portal, {BOUNDS.connections} in all |
| a complete request | within {BOUNDS.seconds:.0f} s |
| calls of one sign-in, or of one link, at a time | {MOST_AT_ONCE} |
| calls without a token, or with an unknown one, at a time | {MOST_OF_STRANGERS}, and {STRANGERS_WAIT} that wait |
| calls that wait for a phone | {MOST_HELD}, and {MOST_HELD_OF_ONE} for one person. Others are answered at once |

An [error](#errors) has its HTTP status and a body such as this. `parameter` is there only with `BAD_FIELD`: the name of
a field, or of a member of one (`parameters.person`, `filter.since`).

    {{"error": "BAD_FIELD", "detail": "is no IP address", "parameter": "remote"}}
"""

_ORDER = """
## In which order

**To sign in**: `/sign-in/challenge`, in the browser `navigator.credentials.get()`, `/sign-in`. The token goes into the
cookie.

**To use a link**:

1. `/link/challenge`.
2. If it answers `phone: true`: `/link/ring`, and `/link/answer` until `approved`.
3. In the browser `navigator.credentials.create()`, then `/link`.

**To do an act** ([acts.md](../reference/acts.md) says what it needs):

1. If it needs the phone: `/phone/ring`, and `/phone/answer` until `approved`.
2. If it needs a touch: `/act/challenge` with the same parameters, in the browser `navigator.credentials.get()`.
3. `/act`.

A link is `/link#TOKEN`. Browsers do not send the part after `#`, so the page sends it. Challenges and approvals are
valid for two minutes, once, and only for what they were asked for.

The page makes the id of an act (`once`), and the gateway uses the id up in the transaction of the act. A second call
with this id, as after a second press of the button, does nothing: it waits for the first outcome and returns that,
without links and codes. If the gateway has restarted since then, it does not know the outcome, and answers
`UNKNOWN_OUTCOME`.
"""


def page() -> str:
    """The page."""
    calls = Call.__subclasses__()
    answers = list(dict.fromkeys((call.PATH, call.ANSWER) for call in calls))
    parts = [
        _HEAD,
        _ORDER,
        "\n## Calls\n",
        *map(_call, calls),
        "\n### Fields of calls\n\n",
        _described("field", ((call.PATH, call) for call in calls)),
        "\n### Members of answers\n\n",
        _described("member", answers),
        _views(),
        _results(),
        _errors(),
    ]
    return "".join(parts)


def _call(cls: type[Call[Any]]) -> str:
    parameters = inspect.signature(cls).parameters
    optional = [name for name in _declared(cls) if _is_optional(parameters[name])]
    lines = [
        ("fields", _listed(name for name in _declared(cls) if name not in optional)),
        ("optional fields", _listed(optional)),
        ("answer", _listed(_declared(cls.ANSWER))),
        ("errors besides those of all calls", _listed(error.name for error in cls.ERRORS)),
    ]
    told = "".join(f"- {what}: {names}\n" for what, names in lines if names)
    return f"\n### `{cls.PATH}`\n\n{_text(cls)}\n\n{told}"


def _listed(names: Iterable[str]) -> str:
    return ", ".join(f"`{name}`" for name in names)


def _is_optional(parameter: inspect.Parameter) -> bool:
    return parameter.default is not inspect.Parameter.empty


def _declared(of: Callable[..., object]) -> dict[str, tuple[str, str]]:
    """The type of each field of a class or parameter of a function that is annotated, and what it is."""
    hints = get_type_hints(of, include_extras=True)
    return {
        name: (_kind(hint.__origin__), hint.__metadata__[-1])
        for name, hint in hints.items()
        if get_origin(hint) is Annotated
    }


def _described(title: str, declared: Iterable[tuple[str, Callable[..., object]]]) -> str:
    """The table of all fields of these calls or views, each once. A name that means several things names them."""
    paths: dict[tuple[str, str, str], list[str]] = {}
    for path, of in declared:
        for name, (kind, what) in _declared(of).items():
            kind = kind.replace(" or null", "") if title == "field" else kind
            paths.setdefault((name, kind, what), []).append(path)
    meanings = Counter(name for name, _, _ in paths)
    rows = (
        (f"`{name}`" + (f" ({_listed(found)})" if meanings[name] > 1 else ""), kind, what)
        for (name, kind, what), found in paths.items()
    )
    return _table((title, "type", "what"), rows)


def _views() -> str:
    rows = ((f"`{name}`", _text(read), _filter(read)) for name, read in VIEWS.items())
    return (
        "\n## Views\n\nThe fields of the rows, and who sees them: [acts.md](../reference/acts.md)."
        f" An answer has {MOST} rows at most. Fields of a filter are optional unless marked as required.\n\n"
        f"{_table(('view', 'rows', 'filter'), rows)}\n### Fields of filters\n\n{_described('field', VIEWS.items())}"
    )


def _filter(read: Callable[..., object]) -> str:
    parameters = inspect.signature(read).parameters
    return ", ".join(
        f"`{name}`" + ("" if _is_optional(parameters[name]) else " (required)") for name in _declared(read)
    )


def _results() -> str:
    acts: dict[type[Any], list[str]] = {}
    for name, act in sorted(DECLARED.items()):
        if act.declared.by:
            acts.setdefault(act.declared.result, []).append(name)
    rows = (
        (
            _listed(names),
            "; ".join(f"`{member}`: {what}" for member, (_, what) in _declared(result).items()) or "empty",
        )
        for result, names in acts.items()
    )
    return f"\n## Results of acts\n\n{_table(('act', '`result`'), rows)}"


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
