"""pam-iampass(1), from the very texts that `--help` shows."""

from __future__ import annotations

import inspect
import re
from typing import TYPE_CHECKING

import click

from pam_iampass.cli import group, grouped

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tools.docs.roff import Page

NAME = "pam-iampass"
SUMMARY = "administer the second factor for logins"

_AFTER = """\
## Exit status

`0`
:   Done; all is well.

`1`
:   It failed, or errors were found. What each verb counts as one is said there.

`2`
:   The command was called wrongly.

`3`
:   Only warnings were found, by verbs that say so.

`130`
:   Somebody pressed Ctrl-C.

## Files

`/etc/iampass/iampass.yaml`
:   The settings: `iampass.yaml`(5).

`/etc/iampass/users.yaml`
:   The table of users, which a person writes.

`/etc/iampass/users.d`
:   One file a user, read before the table. `pam-iampass user` writes here.

## See also

`pam_iampass`(8), `iampass.yaml`(5), `pam-iampass-agent`(8), `journalctl`(1)
"""


def fill(page: Page) -> None:
    """Everything below the name."""
    from tools.docs import markdown

    context = click.Context(group, info_name=NAME, **group.context_settings)
    page.heading("Synopsis")
    for path, command in _commands(context):
        if not isinstance(command.command, click.Group) or command.command.invoke_without_command:
            page.usage(path, " ".join(_pieces(command)))
    page.heading("Description")
    _help(page, group)
    page.text("Every verb has the option `--help` too.")
    page.subheading("Options")
    _options(page, context, helped=True)
    for heading, verbs in grouped().items():
        page.heading(heading)
        for verb in verbs:
            for path, command in _below(context, verb):
                page.subheading(path)
                _help(page, command.command)
                _options(page, command)
                _examples(page, command.command)
    _epilog_of_all(page)
    markdown.put(page, _AFTER)


def _commands(context: click.Context) -> Iterator[tuple[str, click.Context]]:
    for verbs in grouped().values():
        for verb in verbs:
            yield from _below(context, verb)


def _below(context: click.Context, verb: str) -> Iterator[tuple[str, click.Context]]:
    """The command `verb` and all commands below it, each with its words."""
    parent = context.command
    assert isinstance(parent, click.Group)  # noqa: S101
    command = parent.get_command(context, verb)
    assert command is not None  # noqa: S101
    own = click.Context(command, info_name=verb, parent=context)
    if command.hidden:
        return
    yield own.command_path, own
    if isinstance(command, click.Group):
        for name in command.list_commands(own):
            yield from _below(own, name)


def _pieces(context: click.Context) -> list[str]:
    return context.command.collect_usage_pieces(context)


def _help(page: Page, command: click.Command) -> None:
    _paragraphs(page, command.help or "")


def _options(page: Page, context: click.Context, *, helped: bool = False) -> None:
    """The options; `--help` only where it is wanted."""
    for parameter in context.command.get_params(context):
        if not helped and set(parameter.opts) <= set(context.help_option_names):
            continue
        record = parameter.get_help_record(context)
        if record is not None:
            page.definition(f"`{record[0]}`", [record[1]])


def _examples(page: Page, command: click.Command) -> None:
    _paragraphs(page, command.epilog or "")


def _epilog_of_all(page: Page) -> None:
    page.heading("Examples")
    lines = (group.epilog or "").split("\n")
    page.verbatim(line[2:] for line in lines if line.startswith("  "))


def _paragraphs(page: Page, text: str) -> None:
    """Text as click has it: a paragraph that begins with a line of \\b is kept as it is."""
    for paragraph in re.split(r"\n[ \t]*\n", inspect.cleandoc(text)):
        if not paragraph.strip():
            continue
        lines = paragraph.split("\n")
        if lines[0].strip() != "\b":
            page.text(paragraph)
            continue
        if lines[1:] and not lines[1].startswith(" ") and lines[1].rstrip().endswith(":"):
            page.text(lines.pop(1))
        page.verbatim(line[2:] if line.startswith("  ") else line for line in lines[1:])
