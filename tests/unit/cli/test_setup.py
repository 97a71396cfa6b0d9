"""`setup` takes services, or a verb; a verb comes first."""

from __future__ import annotations

from datetime import datetime, timezone
from types import SimpleNamespace
from typing import Any

import click
import pytest

from pam_iampass.agent import control
from pam_iampass.agent.control import AgentUnavailable
from pam_iampass.cli import setup
from pam_iampass.cli.setup import command
from pam_iampass.errors import PamIampassError
from pam_iampass.pam.stack import PamFiles


def parsed(*arguments: str) -> click.Context:
    return command.make_context("setup", list(arguments))


def test_a_verb_comes_first() -> None:
    assert parsed("undo", "su").args == ["undo", "su"]


def test_services_and_options_come_in_any_order() -> None:
    context = parsed("sudo", "--try", "10m", "sshd", "--password")
    assert context.args == []
    assert context.params["services"] == ("sudo", "sshd")
    assert (context.params["trial_seconds"], context.params["password"]) == (600, True)


@pytest.mark.parametrize(
    "arguments", [["sudo", "--json"], ["sudo", "--try", "2d"], ["sudo", "--try", "59s"], ["--undo"]]
)
def test_anything_else_is_wrong_usage(arguments: list[str]) -> None:
    with pytest.raises(click.UsageError):
        parsed(*arguments)


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["sudo", "--key"],
        ["sudo", "--dry-run", "--try", "5m"],
        ["undo", "status"],
        ["status", "su"],
    ],
)
def test_what_does_not_go_together_is_wrong_usage(arguments: list[str]) -> None:
    with parsed(*arguments) as context, pytest.raises(click.UsageError):
        command.invoke(context)


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["sshd", "--prompt", "--no-prompt"], "--prompt and --no-prompt exclude each other"),
        (["sshd", "--key", "--password"], "--key and --password exclude each other"),
        (["sudo", "--prompt"], "--prompt is for sshd"),
        (["sudo", "--prompt", "--key"], "--prompt and --key are for sshd"),
    ],
)
def test_the_options_that_were_typed_are_named(arguments: list[str], told: str) -> None:
    with parsed(*arguments) as context, pytest.raises(click.UsageError) as raised:
        command.invoke(context)
    assert raised.value.message == told


def test_a_service_that_the_machine_lacks_is_not_taken_for_a_mistyped_verb(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(PamFiles, "path", lambda _files, _service: None)
    assert parsed("sudo").params["services"] == ("sudo",)
    with pytest.raises(click.UsageError, match="No such command 'sudoo'"):
        parsed("sudoo")


@pytest.mark.parametrize(
    ("error", "asked"), [(PamIampassError("refused"), [0, 1, 2]), (AgentUnavailable("no agent"), [0, 1])]
)
def test_a_rescue_that_the_agent_refuses_holds_up_no_other_report(
    monkeypatch: pytest.MonkeyPatch, error: PamIampassError, asked: list[int]
) -> None:
    time, logins = datetime.now(timezone.utc), list[int]()
    texts = {"user": "root", "service": "sshd", "rhost": "", "reason": "no agent"}
    rescues = [SimpleNamespace(login=number, time=time, **texts) for number in range(3)]

    def ask(_request: str, *, login: int, **_arguments: Any) -> None:
        logins.append(login)
        if login == 1:
            raise error

    monkeypatch.setattr(setup, "rescues_since", lambda _since, _most: rescues)
    monkeypatch.setattr(control, "ask", ask)
    setup._report_rescues()
    assert logins == asked
