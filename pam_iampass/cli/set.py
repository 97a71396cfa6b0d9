"""`pam-iampass set`: sets one setting."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import click

from pam_iampass.audit.journal import Act
from pam_iampass.check.configuration import check_config
from pam_iampass.cli.output import STYLES, finding, line, record
from pam_iampass.cli.parameters import config_option
from pam_iampass.config.schema import SCHEMA, KeyOrSection, Section
from pam_iampass.config.settings_editing import with_setting
from pam_iampass.errors import Problem, Severity
from pam_iampass.setup import files
from pam_iampass.setup.files import Change
from pam_iampass.text import clean

_EPILOG = """\b
Examples:
  pam-iampass set session.keep true
  pam-iampass set session.covers '{services: [sudo], for: 15m}'
  pam-iampass set services.sudo.timeout 30s
  pam-iampass set exempt.users '[backup]' --dry-run     only show the change
"""


def _keys(schema: tuple[KeyOrSection, ...], above: str = "") -> Iterator[str]:
    for entry in schema:
        section = entry if isinstance(entry, Section) else entry.section
        if section is None:
            yield above + entry.name
        elif not section.named:
            yield from _keys(section.keys, f"{above}{entry.name}.")


def _complete(_ctx: click.Context, _parameter: click.Parameter, incomplete: str) -> list[str]:
    return [key for key in _keys(SCHEMA) if key.startswith(incomplete)]


@click.command(name="set", epilog=_EPILOG)
@click.argument("key", shell_complete=_complete)
@click.argument("value")
@click.option("--dry-run", is_flag=True, help="Check, show the change as a diff, and change nothing.")
@config_option
def command(key: str, value: str, dry_run: bool, config: Path) -> None:
    """Set KEY in iampass.yaml to VALUE, check the result, and only then write it.

    KEY is a setting with its sections before it, such as session.keep or services.sudo.timeout: iampass.yaml(5). VALUE
    is written as in the file. Everything else in the file stays unchanged, also comments. If this is not possible, or
    if the change adds an error, the command changes nothing. New logins use the new settings.

    The exit status is 0, or 1 if the setting was not changed.
    """
    now = files.take(config)
    if now.content is None:
        raise click.ClickException(f"{config}: no such file")
    new = with_setting(files.text_of(now.content), key, value, config)
    change = Change(config, now, replace(now, content=files.content_of(new)))
    if change.then.content == now.content:
        line(f"Nothing to change: {key} is {value} already.")
        return
    for text in change.diff:
        line(text)
    known = {_same(problem) for problem in check_config(config).problems}
    files.prepare([change])
    try:
        found = check_config(files.temporary(config)).problems
        problems = [problem for problem in found if _same(problem) not in known]
        for problem in problems:
            told = str(problem).replace(str(files.temporary(config)), str(config))
            finding([(told, STYLES[problem.severity.value])], problem.remedy)
        if any(problem.severity is Severity.ERROR for problem in problems):
            raise click.ClickException("Nothing was changed.")
        if dry_run:
            line(("Nothing was changed (--dry-run).", "bold"))
            return
        if files.take(config) != now:
            raise click.ClickException(f"{config}: was changed just now by another process; try again")
        change.commit()
    finally:
        files.remove_temporary([config])
    record(Act.SET, "", key)  # not the value: a proxy may have a password
    line((f"{key} is now {clean(value)}, for new logins.", "bold"))


def _same(problem: Problem) -> tuple[str, str, Severity]:
    """Returns a key that stays the same when the line of a problem changes."""
    return problem.key, problem.what, problem.severity
