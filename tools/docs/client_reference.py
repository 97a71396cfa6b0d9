"""The page `docs/reference/client.md`.

The text comes from the docstrings and the signatures of what `pam_iampass.client` exports.
"""

from __future__ import annotations

import ast
import enum
import inspect
import textwrap
from collections.abc import Iterator
from pathlib import Path
from types import DynamicClassAttribute
from typing import Any

from pam_iampass import client
from pam_iampass.client import errors
from pam_iampass.client.api import BaseAPI
from pam_iampass.client.attempts import Sender

_START = """\
<!-- Made by `make pages`; change the docstrings in `pam_iampass/client/` instead. -->
# The IAMPASS client

`pam_iampass.client` is an IAMPASS client that can be used on its own. Its names are those of the client that IAMPASS
publishes. It uses https only, reads nothing from the environment, and keeps a deadline for each call. If a call
fails, it raises an error that says why; the published client returns None.

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

A session can be stored and used later, also in another process, until it is destroyed or ends at IAMPASS:

    import secrets
    from pam_iampass.client import Session, SessionSigner

    text = Session.Schema().dumps(session)
    session = Session.Schema(authenticator).loads(text)

    key = secrets.token_urlsafe()                           # keep it, for the other process
    signer = SessionSigner(key, authenticator, max_age=600)
    token = signer.sign(session)                            # for a cookie or a link
    session = signer.verify(token)                          # BadSignature: changed, or expired
    session.destroy()
"""

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
    "Gateways",
)


def page() -> str:
    """The whole page."""
    parts = [_START.rstrip("\n")]
    for name in _ORDER:
        parts += ["", f"## {name}", "", *_class(getattr(client, name))]
    parts += ["", "## Errors", "", *_errors()]
    for name in client.__all__:
        kind = getattr(client, name)
        if kind.__name__ != name:
            parts += ["", f"### {name}", "", f"The former name of {kind.__name__}."]
    return "\n".join(parts) + "\n"


def _class(kind: type) -> Iterator[str]:
    yield _text(kind)
    if issubclass(kind, enum.Enum):
        yield from ("", *_members(kind), *_properties(kind))
        return
    if kind.__init__.__doc__ and not hasattr(kind, "__dataclass_fields__"):
        yield from ("", f"### {_signature(kind.__name__, kind)}", "", _text(kind.__init__))
    described = (
        {**_attributes(Sender), **_attributes(kind)} if issubclass(kind, Sender) else _attributes(kind)
    )
    for name, doc in described.items():
        yield from ("", f"`{name}`: {doc}")
    for name, member in _public(kind):
        if isinstance(member, property):
            yield from ("", f"`{name}`: {_text(member)}") if member.__doc__ else ()
        else:
            yield from ("", f"### {_signature(name, getattr(kind, name))}", "", _text(member))


def _public(kind: type) -> Iterator[tuple[str, Any]]:
    """Our methods and properties, those of the base class first, without aliases."""
    for each in (BaseAPI, kind) if issubclass(kind, BaseAPI) else (kind,):
        for name, member in vars(each).items():
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
            for name, member in vars(base).items():
                if isinstance(member, (property, DynamicClassAttribute)):
                    yield from ("", f"`{name}`: {_text(member)}")


def _errors() -> Iterator[str]:
    yield _text(errors)
    for name, kind in vars(errors).items():
        if inspect.isclass(kind) and issubclass(kind, errors.IampassError) and name == kind.__name__:
            yield from ("", f"### {name}", "", _text(kind))
            for attribute, doc in _attributes(kind).items():
                yield from ("", f"`{attribute}`: {doc}")
            if kind is errors.IampassError:
                yield from ("", f"`diagnostics()`: {_text(kind.diagnostics)}")


def _signature(name: str, function: Any) -> str:
    """The call: names and defaults, without types."""
    words, star = [], False
    for parameter in inspect.signature(function).parameters.values():
        if parameter.name == "self":
            continue
        if parameter.kind is parameter.KEYWORD_ONLY and not star:
            words.append("*")
            star = True
        words.append(parameter.name if parameter.default is parameter.empty else _with_default(parameter))
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
                if name and isinstance(below.value.value, str):
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
