"""Verbs of a gateway's command that write without `perform`: these, which `docs/reference/acts.md` lists, and no
others."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

from tools.docs.acts_reference import NO_ACTS

CLI = Path(__file__).parents[3] / "pam_iampass/gateway/cli"

#: Each function that can write, with the verb for which it does.
WRITING = {
    "agents.add_agent": "user add",
    "agents.remove_agent": "user remove",
    "enroll.GatewayEnroller.record": "enroll --from",
    "init._make_tables": "init",
    "mailing.SendmailMailer.begin": "enroll --mail",
    "mailing.SendmailMailer._note": "enroll --mail",
    "mailing.SendmailMailer._record": "enroll --mail",
    "people.add_or_change": "user add",
    "people.remove_person": "user remove",
    "restored.command": "restored",
    "serve._watch_certificate": "serve",
    "sheets._make": "recovery new --from",
    "sheets.commit": "recovery new --from",
    "sync._Sync._insert": "user sync",
    "sync._Sync.run": "user sync --accept-missing",
    "sync._accept_missing": "user sync --accept-missing",
    "sync.sync": "user sync --accept-missing",
}
#: Functions that only read, but all at one moment, or behind a lock.
READING = {"log._followed", "sheets._count", "throttle.show"}
_WRITES = {"transaction", "execute", "later"}


def _functions(body: list[ast.stmt], name: str) -> Iterator[tuple[str, ast.AST]]:
    for node in body:
        if isinstance(node, ast.ClassDef):
            yield from _functions(node.body, f"{name}.{node.name}")
        elif isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            yield f"{name}.{node.name}", node


def _can_write(function: ast.AST) -> bool:
    """Whether it opens a transaction, sends a statement of its own, or writes a record."""
    called = [node.func for node in ast.walk(function) if isinstance(node, ast.Call)]
    of_records = {"act", "write", "alert"}
    return any(
        isinstance(each, ast.Attribute)
        and (each.attr in _WRITES or (ast.unparse(each.value) == "records" and each.attr in of_records))
        for each in called
    )


def test_what_writes_without_an_act_is_on_the_page_with_the_reason() -> None:
    found = {
        name
        for file in CLI.glob("*.py")
        if file.stem != "__init__"
        for name, function in _functions(ast.parse(file.read_text("utf-8")).body, file.stem)
        if _can_write(function)
    }
    assert found == WRITING.keys() | READING
    assert set(WRITING.values()) <= {verb for verbs in NO_ACTS for verb in verbs.split(", ")}
