"""`setup` takes services, or a verb; a verb comes first."""

from __future__ import annotations

import click
import pytest

from pam_iampass.cli.setup import command


def parsed(*arguments: str) -> click.Context:
    return command.make_context("setup", list(arguments))


def test_a_verb_comes_first() -> None:
    assert parsed("undo", "su").args == ["undo", "su"]


def test_services_and_options_come_in_any_order() -> None:
    context = parsed("sudo", "--try", "10", "sshd", "--password")
    assert context.args == []
    assert context.params["services"] == ("sudo", "sshd")
    assert (context.params["minutes"], context.params["password"]) == (10, True)


@pytest.mark.parametrize("arguments", [["sudo", "--json"], ["sudo", "--try", "1441"], ["--undo"]])
def test_anything_else_is_wrong_usage(arguments: list[str]) -> None:
    with pytest.raises(click.UsageError):
        parsed(*arguments)


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["sudo", "--key"],
        ["sudo", "--dry-run", "--try", "5"],
        ["undo", "status"],
        ["status", "su"],
    ],
)
def test_what_does_not_go_together_is_wrong_usage(arguments: list[str]) -> None:
    with parsed(*arguments) as context, pytest.raises(click.UsageError):
        command.invoke(context)
