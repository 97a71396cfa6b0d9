"""Writes the page `docs/settings.md`: `python3 -m tools.docs.settings_reference > docs/settings.md`."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from pam_iampass.config.schema import FOR_SERVICES, SCHEMA, Key, Section

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

_HEAD = """\
<!-- Made by `python3 -m tools.docs.settings_reference`; change `pam_iampass/config/schema.py` instead. -->
# Settings

"""

INTRODUCTION = """\
`/etc/iampass/iampass.yaml` says how the module works, `/etc/iampass/users.yaml` whom it asks. `pam-iampass
check` reads both as the module does and reports everything that is wrong. While something is, logins are
denied.

The files, and every folder above them, must belong to root and be writable by nobody else. None of them may
be a symbolic link itself; a folder may be reached through one. The secret may be read by root and the group
`iampass` only: `chown root:iampass`, `chmod 0640`.

The format is YAML, in UTF-8, without surprises: a key stands once; anchors, aliases, tags and merge keys
are not understood. Durations are written with their unit, `60s` or `2m`.
"""
"""What stands before the keys, on the page and in iampass.yaml(5)."""

_KEYS = "\n## Keys of iampass.yaml\n"

USERS = """
## users.yaml and users.d

One user a line, the name as NSS has it (`getent passwd`), then the IAMPASS token, or a mapping of `token` and
`methods`:

    alice: 7f3c-alice
    bob: {token: 91aa-bob, methods: [facial]}

Names and tokens are text, always: `no`, `null` and `0123` are names and tokens like any other. A token is 1
to 256 characters, without control characters, and not `.` or `..`. One mistake in the file denies everybody
in it.

A file `users.d/<user>.yaml`, next to the table, holds one user in the same form and is read first. A
mistake in it denies that one user. It is found by its name alone, so that a login takes as long with
100,000 users as with 10. Where there is a folder `users.d`, `users.yaml` may be missing.

In the name of such a file every byte but letters A-Z and a-z, digits, `_`, `-`, and `.` anywhere but in
front is written `%XX`, two upper-case hexadecimal digits (of UTF-8): the file of `jo@example.com` is
`jo%40example.com.yaml`. A name that gets longer than 255 bytes so belongs in `users.yaml`.
"""
"""What stands after the keys."""


def page() -> str:
    """The whole page."""
    parts = [_HEAD + INTRODUCTION + _KEYS, *_table([entry for entry in SCHEMA if isinstance(entry, Key)])]
    for entry in SCHEMA:
        if isinstance(entry, Section):
            name = f"{entry.name}.<name>" if entry.named else entry.name
            shared = FOR_SERVICES if entry.named else ()
            parts += [f"\n### {name}\n\n{entry.doc}\n", *_table(entry.keys, shared)]
    return "\n".join([*parts, USERS])


def _table(keys: Iterable[Key], shared: Iterable[Key] = ()) -> Iterator[str]:
    yield "| key | what may stand there | where it is not there | |"
    yield "| --- | --- | --- | --- |"
    for key in keys:
        if key in shared:
            yield f"| `{key.name}` | as above | as above | |"
        else:
            says = f"{key.type.description}; for example `{key.type.example}`"
            yield f"| `{key.name}` | {says} | {default_of(key)} | {key.doc} |"


def default_of(key: Key) -> str:
    """What holds where the key is not there."""
    if key.required:
        return "an error"
    if key.default is None:
        return "`null`"
    return f"`{key.default}`" if isinstance(key.default, str) else "`[]`"


if __name__ == "__main__":
    sys.stdout.write(page())
