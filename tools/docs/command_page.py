"""pam-iampass(1) and pam-iampass-gateway(1) with a page for each verb, and pam-iampass-portal(1), from the texts of
`--help`."""

from __future__ import annotations

import inspect
import re
from functools import partial
from typing import TYPE_CHECKING

import click

from pam_iampass.cli import LazyGroup, Verbs
from tools.docs import markdown

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from typing import Callable

    from tools.docs.roff import Page

TITLE = ("pam-iampass", 1, "administer the second factor for logins")
GATEWAY_TITLE = ("pam-iampass-gateway", 1, "administer the second factor for the logins of a fleet")
PORTAL_TITLE = ("pam-iampass-portal", 1, "pages in which the people of a fleet sign in with passkeys")

_EXIT_STATUS = """\
## Exit status

`0`
:   Success, and no error found.

`1`
:   Failure, or errors found. The verbs above say what counts as an error.

`2`
:   Wrong usage.

`3`
:   Only warnings found, for verbs that say so.

`130`
:   Interrupted with Ctrl-C.
"""

AFTER = f"""\
{_EXIT_STATUS}
## Files

`/etc/iampass/iampass.yaml`
:   The settings: `iampass.yaml`(5).

`/etc/iampass/users.yaml`
:   The user table, maintained by hand.

`/etc/iampass/users.d`
:   One file per user, read before the table and written by `pam-iampass user` and `pam-iampass enroll`.

## See also

`pam_iampass`(8), `iampass.yaml`(5), `pam-iampass-agent`(8), `journalctl`(1)
"""

GATEWAY_AFTER = f"""\
{_EXIT_STATUS}
## Files

`/etc/iampass-gateway/gateway.yaml`
:   The settings: `gateway.yaml`(5). The secrets are beside it.

## See also

`gateway.yaml`(5), `pam-iampass`(1), `journalctl`(1)
"""

PORTAL_AFTER = """\
## Files

`/etc/iampass-portal/portal.yaml`
:   The settings: `portal.yaml`(5).

`/etc/iampass-portal/certificate.pem`, `/etc/iampass-portal/certificate-key.pem`
:   Links to the certificate and its key, which systemd passes to the service.

## See also

`portal.yaml`(5), `pam-iampass-gateway`(1), `journalctl`(1)
"""


def fill(page: Page, group: Verbs, after: str) -> None:
    """Put everything below the name onto the page of a command with few verbs; `after` at the end."""
    context = click.Context(group, info_name=group.name, **group.context_settings)
    commands = list(_commands(context, group.list_commands(context)))
    page.heading("Synopsis")
    _usage(page, commands)
    page.heading("Description")
    _paragraphs(page, group.help)
    page.text("Every verb also has the option `--help`.")
    page.subheading("Options")
    _options(page, context, with_help=True)
    page.heading("Verbs")
    _describe(page, commands)
    markdown.put(page, after)


def fill_list(page: Page, group: LazyGroup, after: str) -> None:
    """Put everything below the name onto the page of a command whose verbs have pages of their own."""
    context = click.Context(group, info_name=group.name, **group.context_settings)
    page.heading("Synopsis")
    page.usage(context.command_path, "VERB [ARGUMENTS]...")
    page.heading("Description")
    _paragraphs(page, group.help)
    page.text("Every verb has a page of its own, and also the option `--help`.")
    page.subheading("Options")
    _options(page, context, with_help=True)
    for heading, verbs in group.headings.items():
        page.heading(heading)
        for name, summary in verbs.items():
            page.definition(f"`{group.name}-{name}`(1)", [summary])
    if group.epilog:
        page.heading("Examples")
        page.verbatim(line[2:] for line in group.epilog.split("\n") if line.startswith("  "))
    markdown.put(page, after)


def verbs(group: LazyGroup) -> dict[tuple[str, int, str], Callable[[Page], None]]:
    """The titles of the pages of the verbs, and what fills each."""
    return {
        (f"{group.name}-{name}", 1, f"{summary[0].lower()}{summary[1:].rstrip('.')}"): partial(
            _fill_verb, group=group, name=name
        )
        for found in group.headings.values()
        for name, summary in found.items()
    }


def _fill_verb(page: Page, group: LazyGroup, name: str) -> None:
    """Put everything below the name onto the page of a verb."""
    top = click.Context(group, info_name=group.name, **group.context_settings)
    commands = list(_commands(top, [name]))
    page.heading("Synopsis")
    _usage(page, commands)
    page.heading("Description")
    _describe(page, commands)
    markdown.put(page, f"## See also\n\n`{group.name}`(1)\n")


def _usage(page: Page, commands: Iterable[click.Context]) -> None:
    for command in commands:
        if not isinstance(command.command, click.Group) or command.command.invoke_without_command:
            page.usage(command.command_path, " ".join(command.command.collect_usage_pieces(command)))


def _describe(page: Page, commands: Iterable[click.Context]) -> None:
    for command in commands:
        page.subheading(command.command_path)
        _paragraphs(page, command.command.help)
        _options(page, command)
        _paragraphs(page, command.command.epilog)


def _commands(parent: click.Context, names: Iterable[str]) -> Iterator[click.Context]:
    """The commands of these names below `parent`, and all commands below them."""
    assert isinstance(parent.command, click.Group)  # noqa: S101
    for name in names:
        command = parent.command.get_command(parent, name)
        assert command is not None  # noqa: S101
        if command.hidden:
            continue
        context = click.Context(command, info_name=name, parent=parent)
        yield context
        if isinstance(command, click.Group):
            yield from _commands(context, command.list_commands(context))


def _options(page: Page, context: click.Context, *, with_help: bool = False) -> None:
    for parameter in context.command.get_params(context):
        record = parameter.get_help_record(context)
        if record and (with_help or not set(parameter.opts) <= set(context.help_option_names)):
            page.definition(f"`{record[0]}`", [record[1]])


def _paragraphs(page: Page, text: str | None) -> None:
    """A help text of click: a paragraph that begins with a line of \\b is verbatim."""
    for paragraph in re.split(r"\n[ \t]*\n", inspect.cleandoc(text or "")):
        lines = paragraph.split("\n")
        if lines[0].strip() == "\b":
            if lines[1:] and not lines[1].startswith(" ") and lines[1].rstrip().endswith(":"):
                page.text(lines.pop(1))
            page.verbatim(line[2:] if line.startswith("  ") else line for line in lines[1:])
        elif paragraph.strip():
            page.text(paragraph)
