"""The command `pam-iampass-gateway` itself: other tests run it in a process that has imported all verbs."""

from __future__ import annotations

import inspect
import os
import subprocess
import sys
from collections.abc import Iterator

import click
import pytest

from pam_iampass import cli
from pam_iampass.gateway.cli import GROUPS, group
from tests.support.gateway_machine import package, run_gateway


@pytest.mark.parametrize("verb", [verb for verbs in GROUPS.values() for verb in verbs])
def test_each_verb_starts_in_a_process_that_has_imported_nothing_else(verb: str) -> None:
    shown = run_gateway(verb, "--help", as_installed=True)
    assert shown.startswith(f"Usage: pam-iampass-gateway {verb} ")


@pytest.mark.parametrize(
    ("typed", "offered"),
    [
        ("thro", "throttle"),
        ("host sus", "suspend"),
        ("host list --uns", "--unseen"),
        ("host list --status wai", "waiting"),
    ],
)
def test_a_shell_completes_verbs_options_and_their_values(typed: str, offered: str) -> None:
    words = f"pam-iampass-gateway {typed}"
    environment = {**os.environ, "COMP_WORDS": words, "COMP_CWORD": str(len(words.split()) - 1)}
    environment["_PAM_IAMPASS_GATEWAY_COMPLETE"] = "bash_complete"
    command = [sys.executable, "-m", "pam_iampass.gateway.cli"]
    done = subprocess.run(command, env=environment, cwd=package(), capture_output=True, text=True, check=True)
    assert done.stdout == f"plain,{offered}\n"


def commands(above: click.Group, name: str) -> Iterator[tuple[str, click.Command]]:
    """The verbs below this one, with their names."""
    context = click.Context(above)
    for verb in above.list_commands(context):
        found = above.get_command(context, verb)
        assert found is not None
        yield f"{name} {verb}", found
        if isinstance(found, click.Group):
            yield from commands(found, f"{name} {verb}")


def test_a_verb_that_asks_says_on_its_page_what_it_does_where_nobody_can_be_asked() -> None:
    asking = []
    for name, verb in (*commands(cli.group, "pam-iampass"), *commands(group, "pam-iampass-gateway")):
        options = {each.name: each for each in verb.params if isinstance(each, click.Option)}
        if "yes" in options:
            asking.append(name)
            assert "not a terminal" in f"{options['yes'].help} {verb.help}", name
        elif verb.callback is not None:
            assert 'confirm(f"' not in inspect.getsource(verb.callback), name
    assert {"pam-iampass phone lost", "pam-iampass-gateway host remove"} <= set(asking)
