"""iampass.yaml(5), from what the settings' own table says, as `docs/settings.md` is."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pam_iampass.config.schema import FOR_SERVICES, SCHEMA, Key, Section
from tools.docs import markdown, settings_reference

if TYPE_CHECKING:
    from collections.abc import Iterable

    from tools.docs.roff import Page

NAME = "iampass.yaml"
SUMMARY = "settings and users of the second factor for logins"

_AFTER = """\
## Examples

The phone for everybody, with a user for backups who is exempt, and more time for sudo:

    application_id: my-application
    exempt: {users: [backup]}
    services:
      iampass-sudo: {timeout: 2m}

## See also

`pam_iampass`(8), `pam-iampass`(1), `pam-iampass-agent`(8)
"""


def fill(page: Page) -> None:
    """Everything below the name."""
    page.heading("Synopsis")
    page.verbatim(["/etc/iampass/iampass.yaml", "/etc/iampass/users.yaml", "/etc/iampass/users.d/USER.yaml"])
    page.heading("Description")
    markdown.put(page, settings_reference.INTRODUCTION)
    page.heading("Keys of iampass.yaml")
    _keys(page, [entry for entry in SCHEMA if isinstance(entry, Key)])
    for entry in SCHEMA:
        if isinstance(entry, Section):
            name = f"{entry.name}.<name>" if entry.named else entry.name
            page.subheading(name)
            page.text(entry.doc)
            _keys(page, entry.keys, FOR_SERVICES if entry.named else ())
    markdown.put(page, settings_reference.USERS)
    markdown.put(page, _AFTER)


def _keys(page: Page, keys: Iterable[Key], shared: Iterable[Key] = ()) -> None:
    again = [key.name for key in keys if key in shared]
    if again:
        page.definition(", ".join(f"`{name}`" for name in again), ["As above, and by default as set there."])
    for key in keys:
        if key not in shared:
            value = f"{key.type.description}, for example `{key.type.example}`."
            default = "Required." if key.required else f"Default: {settings_reference.default_of(key)}."
            page.definition(f"`{key.name}`", [key.doc, f"{value[0].upper()}{value[1:]} {default}"])
