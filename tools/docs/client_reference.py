"""The page `docs/reference/client.md`.

The text comes from the docstrings and the signatures of what `pam_iampass.client` exports.
"""

from __future__ import annotations

import ast
import enum
import inspect
import textwrap
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from types import DynamicClassAttribute
from typing import Any

from pam_iampass import client
from pam_iampass.client import Session, errors
from pam_iampass.client.api import BaseAPI
from pam_iampass.client.attempts import Sender

_START = """\
<!-- Made by `make pages`; change the docstrings in `pam_iampass/client/` instead. -->
# The IAMPASS client

`pam_iampass.client` is an IAMPASS client for Python that works without the rest of pam-iampass. Its names and values
are those of the client that IAMPASS publishes. It uses https only, reads nothing from the environment, and has a
deadline for each call. If a call fails, it raises an [error](#errors) that says why; the published client returns
None.

    import time
    from pam_iampass.client import AuthenticationAPI, ManagementAPI, ManagementAPIResult

    keys = {"application_id": "my-application", "application_secret": "its secret"}
    manager = ManagementAPI(**keys)
    manager.add_user("alice")
    if manager.has_registered_mobile_device("alice") is ManagementAPIResult.no_mobile_device:
        print(manager.get_registration_link("alice", "Alice at example.com"))

    authenticator = AuthenticationAPI(**keys)
    session = authenticator.authenticate_user("alice")
    while session.in_progress:
        time.sleep(2)
        session.get_status()
    print("approved" if session.active else session.failure_reason or session.session_status.name)

You can store a session and use it later, also in another process, until it is destroyed or ends at IAMPASS:

    import secrets
    from pam_iampass.client import Session, SessionSigner

    text = Session.Schema().dumps(session)
    session = Session.Schema(authenticator).loads(text)

    key = secrets.token_urlsafe()                           # keep it, for the other process
    signer = SessionSigner(key, authenticator, max_age=600)
    token = signer.sign(session)                            # for a cookie or a link
    session = signer.verify(token)                          # BadSignature: changed, or expired
    session.destroy()

## Every call

| parameter | value |
| --- | --- |
| `deadline` | a [Deadline](#deadline) for the whole call. Without it, the call takes 30 s at most |
| `attempts` | how often the call is made at most, if it can be repeated. With 1, a call does not wait |
| `pause` | a function that waits between two attempts, as `time.sleep` does |
| `until_readable` | a function of seconds and a descriptor, which waits for the response |

Signatures of API objects show `…` for `deadline` and `pause`. An exception in one of these functions ends the call. An
invalid argument raises ValueError or TypeError, before anything is sent.

The published client does not have `remove_user`, `lost_mobile_device`, `disable_mobile_device`, `knows_application` and
`knows_user`.

## API objects

ManagementAPI and AuthenticationAPI are made in the same way. Threads can share them.
"""

_GATEWAYS = """\
On a host of a gateway, an API object has Gateways as its `transport`. Only gateways answer {calls}. Only gateways set
{attributes} of a session. Their docstrings describe them, and [gateway-protocol.md](../inside/gateway-protocol.md) has
members and limits."""

_ORDER = (
    "ManagementAPI",
    "ManagementAPIResult",
    "AuthenticationAPI",
    "AuthenticationMethod",
    "Session",
    "Status",
    "SessionSigner",
    "Deadline",
    "Transport",
)

#: What only gateways answer or set, by the name of its class: no other user of the library needs it.
_OF_GATEWAYS = {
    "AuthenticationAPI": ("redeem_code", "watch", "confirm", "report"),
    "ManagementAPI": ("host", "people"),
    "Session": (
        *(
            "longest_wait",
            "version",
            "queued",
            "counts_given_up",
            "covered_by",
            "covered_age",
            "refusal",
            "news",
        ),
    ),
    "Unavailable": ("away",),
}
#: What other calls are made of.
_PARTS = {"Session": ("poll", "end"), "Transport": ("call", "clock_correction")}

_EVERY_CALL = ("deadline", "pause")


def page() -> str:
    """The whole page."""
    parts = [_START.rstrip("\n")]
    parts += ["", f"### {_signature('ManagementAPI', BaseAPI)}", "", _text(BaseAPI.__init__)]
    parts += ["", f"### {_signature('close', BaseAPI.close)}", "", _text(BaseAPI.close)]
    for name in _ORDER:
        parts += ["", f"## {name}", "", *_class(getattr(client, name))]
    gateways = _GATEWAYS.format(calls=_listed(BaseAPI), attributes=_listed(Session))
    parts += ["", "## Gateways", "", _flowing(gateways)]
    parts += ["", "## Errors", "", *_errors()]
    return "\n".join(parts) + "\n"


def _listed(base: type) -> str:
    """What only gateways have, of a class and those that derive from it."""
    names = [
        f"`{name}`"
        for kind, names in _OF_GATEWAYS.items()
        if issubclass(getattr(client, kind), base)
        for name in names
    ]
    return f"{', '.join(names[:-1])} and {names[-1]}"


def _class(kind: type) -> Iterator[str]:
    yield _text(kind)
    if issubclass(kind, enum.Enum):
        yield from ("", *_members(kind), *_properties(kind))
        return
    is_api = issubclass(kind, BaseAPI)
    if kind.__init__.__doc__ and not is_api and not hasattr(kind, "__dataclass_fields__"):
        yield from ("", f"### {_signature(kind.__name__, kind)}", "", _text(kind.__init__))
    described = (
        {**_attributes(Sender), **_attributes(kind)} if issubclass(kind, Sender) else _attributes(kind)
    )
    properties = {name: _text(each) for name, each in _public(kind) if isinstance(each, property)}
    elsewhere = (*_OF_GATEWAYS.get(kind.__name__, ()), *_PARTS.get(kind.__name__, ()))
    yield from _list(
        {name: doc for name, doc in {**described, **properties}.items() if name not in elsewhere}
    )
    for name, member in _public(kind):
        if not isinstance(member, property) and name not in elsewhere:
            hidden = _EVERY_CALL if is_api else ()
            yield from ("", f"### {_signature(name, getattr(kind, name), hidden)}", "", _text(member))


def _list(described: Mapping[str, str]) -> Iterator[str]:
    """The attributes that have a description."""
    lines = [f"- `{name}`: {' '.join(doc.split())}" for name, doc in described.items() if doc]
    yield from ("", *lines) if lines else ()


def _public(kind: type) -> Iterator[tuple[str, Any]]:
    """Our methods and properties, without aliases."""
    for name, member in vars(kind).items():
        plain = member.__func__ if isinstance(member, (staticmethod, classmethod)) else member
        own = isinstance(member, property) or getattr(plain, "__name__", None) == name
        if own and not name.startswith("_"):
            yield name, plain


def _members(kind: type[enum.Enum]) -> Iterator[str]:
    docs = _attributes(kind)
    for member in kind:
        yield f"- `{member.name}` = `{member.value!r}`" + (
            f": {docs[member.name]}" if member.name in docs else ""
        )


def _properties(kind: type[enum.Enum]) -> Iterator[str]:
    """The properties that our own base of an enum gives its members."""
    for base in kind.__mro__[1:]:
        if base.__module__.startswith(client.__name__):
            found = {
                name: _text(member)
                for name, member in vars(base).items()
                if isinstance(member, (property, DynamicClassAttribute))
            }
            yield from ("", "Properties:", *_list(found))


def _errors() -> Iterator[str]:
    """The tree of errors, and the attributes of those that have some."""
    yield _text(errors)
    for name, kind in vars(errors).items():
        if inspect.isclass(kind) and issubclass(kind, errors.IampassError) and name == kind.__name__:
            is_base = kind is errors.IampassError
            more = {"diagnostics()": _text(kind.diagnostics)} if is_base else {}
            described = {**_attributes(kind), **more}
            of_gateways = _OF_GATEWAYS.get(name, ())
            lines = [*_list({each: doc for each, doc in described.items() if each not in of_gateways})]
            yield from ("", f"### {name}", *lines) if lines else ()


def _signature(name: str, function: Any, hidden: Collection[str] = ()) -> str:
    """The call: names and defaults, without types. Parameters that are hidden become one ellipsis."""
    words, star = [], False
    parameters = inspect.signature(function).parameters
    for parameter in parameters.values():
        if parameter.name == "self" or parameter.name in hidden:
            continue
        if parameter.kind is parameter.KEYWORD_ONLY and not star:
            words.append("*")
            star = True
        words.append(parameter.name if parameter.default is parameter.empty else _with_default(parameter))
    words += ["…"] if any(each in parameters for each in hidden) else []
    return f"`{name}({', '.join(words)})`"


def _with_default(parameter: inspect.Parameter) -> str:
    default = parameter.default
    plain = default is None or isinstance(default, (str, int, float))
    return f"{parameter.name}={repr(default) if plain else '…'}"


def _attributes(kind: type) -> dict[str, str]:
    """The docstrings below attributes, in the class and in its `__init__`."""
    source = Path(inspect.getsourcefile(kind) or "").read_text(encoding="utf-8")
    body = next(
        node.body
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.ClassDef) and node.name == kind.__name__
    )
    inits = [node.body for node in body if isinstance(node, ast.FunctionDef) and node.name == "__init__"]
    found = {}
    for statements in (body, *inits):
        for statement, below in zip(statements, statements[1:]):
            if isinstance(below, ast.Expr) and isinstance(below.value, ast.Constant):
                name = _assigned(statement)
                if name and not name.startswith("_") and isinstance(below.value.value, str):
                    found[name] = _flowing(inspect.cleandoc(below.value.value))
    return found


def _assigned(statement: ast.stmt) -> str | None:
    if not isinstance(statement, (ast.Assign, ast.AnnAssign)):
        return None
    target = statement.target if isinstance(statement, ast.AnnAssign) else statement.targets[0]
    return ast.unparse(target).rpartition(".")[2]


def _text(thing: Any) -> str:
    return _flowing(inspect.getdoc(thing) or "")


def _flowing(text: str) -> str:
    """Paragraphs on lines of up to 110 characters; indented ones stay unchanged."""
    paragraphs = text.split("\n\n")
    return "\n\n".join(
        each
        if each.startswith(" ")
        else textwrap.fill(each, 110, break_on_hyphens=False, break_long_words=False)
        for each in paragraphs
    )
