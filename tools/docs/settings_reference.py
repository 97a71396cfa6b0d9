"""The pages about the settings: docs/reference/settings.md and iampass.yaml(5); docs/reference/gateway-settings.md and
gateway.yaml(5); portal.yaml(5). And config/iampass.yaml, which is installed."""

from __future__ import annotations

import re
import textwrap
from dataclasses import dataclass
from importlib import import_module
from typing import TYPE_CHECKING

from pam_iampass.config.schema import SCHEMA, SHARED, Key, KeyOrSection, Section
from tools.docs import markdown

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from tools.docs.roff import Page

_HEAD = "<!-- Made by `make pages`; change `{module}` instead. -->\n# {title}\n\n"

_HOST_INTRODUCTION = """\
`/etc/iampass/iampass.yaml` configures the module. `/etc/iampass/users.yaml` lists the users, their tokens and ssh keys.
`pam-iampass check` reads both as the module does and reports every problem. Logins are denied until all errors are
fixed.

The files, and every folder above them, must belong to root and be writable by nobody else. The files must not be
symbolic links; the folders may be. Only root and the group `_iampass` may be able to read the secret:
`chown root:_iampass`, `chmod 0640`.

The format is a strict form of YAML in UTF-8: each key at most once, and no anchors, aliases, tags or merge keys.
Durations are written with their unit: `60s`, `2m`, `1h` or `1d`.
"""

_USERS = """
## users.yaml and users.d

One user per line: the name as in `getent passwd`, then the IAMPASS token, or a mapping of `token`, `methods` and
`keys`, or `acts_for`:

    alice: 7f3c-alice
    bob: {token: 91aa-bob, methods: [facial]}
    carol: {token: 1d20-carol, keys: [SHA256:8JlN0vl0mKmTnmbfqzZUwNUiLMX3pmQLfxvMnG7f0aE]}
    dave: {keys: [{ca: SHA256:47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU, key_id: dave@example.com}]}
    claude: {acts_for: alice}

Names and tokens are always text: `no`, `null` and `0123` are names and tokens like any other. A token has 1 to 256
characters, no control characters, and is not `.` or `..`. An error in the file denies the logins of all users in it.

`keys`, for `approver: key` and second persons, are public keys or their fingerprints, and mappings of `ca` with
`key_id` or `principal`, which name certificates of that CA. Nobody logs in by a key that two users have. A user without
a token is asked by the one that a gateway or `unlisted_users` knows. Where keys count, a login looks at all files of
the table (a thousand take 20 ms), and the first one after a change reads them (100,000 users take seconds).

`acts_for` is for the account of an AI agent, a build job or a robot. The phone of its owner approves its logins and
each of its calls of sudo. The owner must be a user with a token in the table, and must not act for anybody. The
account has no token, methods, keys or recovery codes. A bypass of the owner has no effect on it; a bypass of the
account has. If it becomes its owner or a user who needs no approval, its calls of sudo still count as its own. Its
requests wait behind those of the owner, and have limits of their own (`agents`). It approves for nobody, and the owner
is never the second person for it. While its request is on the owner's phone, a line on the owner's terminals on this
host shows the account and the command (`mesg n` turns these lines off). [agents.md](../one-server/agents.md) sets up
such an account.

The account is always asked: `asked` and `exempt.networks` do not spare it. If it is in `exempt` by its name, by a
group or by a rule, or if it cannot act for its owner, only its own logins are denied, and `pam-iampass check` reports
an error. A host that has joined a gateway denies every account with `acts_for`.

A file `users.d/<user>.yaml`, in the folder of the table, holds one user in the same form and takes the place of the
line in `users.yaml`. An error in it denies only the logins of that user. With it, a login is as fast with 100,000 users
as with 10. If every user has a file there, keep an empty `users.yaml`: while it is missing, users without a file are
denied, and `pam-iampass check` reports an error. On a host of a gateway, `users.yaml` may be missing.

In the name of such a file, letters A-Z and a-z, digits, `_`, `-`, and `.` (not as the first character) stand for
themselves. Every other byte of UTF-8 is `%XX`, two upper-case hexadecimal digits: the file of `jo@example.com` is
`jo%40example.com.yaml`. A user whose file name would be longer than 255 bytes has to be in `users.yaml`.
"""

_HOST_AFTER = """\
## Examples

The phone for all users, an exempt user for backups, and more time for sudo:

    application_id: my-application
    exempt: {users: [backup]}
    services:
      sudo: {timeout: 2m}

## See also

`pam_iampass`(8), `pam-iampass`(1), `pam-iampass-agent`(8)
"""


_GATEWAY_INTRODUCTION = """\
`/etc/iampass-gateway/gateway.yaml` configures a gateway; it is the same on every gateway of a fleet.
`pam-iampass-gateway init` writes it. A gateway does not start until all errors are fixed.

The file must belong to root and be writable by nobody else. The secrets are in files of their own, which only root can
read; systemd passes them to the service.

The format is a strict form of YAML in UTF-8: each key at most once, and no anchors, aliases, tags or merge keys.
Durations are written with their unit: `60s`, `2m`, `1h` or `1d`.
"""

_PORTAL_INTRODUCTION = """\
`/etc/iampass-portal/portal.yaml` configures the portal of a fleet, which runs on a gateway. `pam-iampass-gateway portal
setup` writes it. Without a certificate that can be read the portal does not start, unless it is behind a proxy.

The file must belong to root and be writable by nobody else. The certificate and its key are in files of their own;
systemd passes them to the service.

The format is a strict form of YAML in UTF-8: each key at most once, and no anchors, aliases, tags or merge keys.
"""

_PORTAL_AFTER = """\
## See also

`pam-iampass-portal`(1), `pam-iampass-gateway`(1), `gateway.yaml`(5)
"""

_GATEWAY_AFTER = """\
## See also

`pam-iampass-gateway`(1)
"""


@dataclass(frozen=True)
class Reference:
    """What the two pages about a settings file say."""

    title: tuple[str, int, str]
    """Of the man page."""
    files: tuple[str, ...]
    schema: tuple[KeyOrSection, ...]
    shared: tuple[Key, ...]
    """Keys that a named section has as well as the file."""
    head: str
    """Of the page in docs/."""
    introduction: str
    also: str
    """Other files, below the keys."""
    after: str
    """At the end of the man page."""

    def page(self) -> str:
        """The page in docs/."""
        parts = [f"{self.head}{self.introduction}\n## Keys of {self.title[0]}\n", *_table(self._top)]
        for name, section, shared in self._sections():
            parts += [f"\n### {name}\n\n{section.description}\n", *_table(section.keys, shared)]
        return "\n".join([*parts, self.also])

    def fill(self, page: Page) -> None:
        """Put everything below the name onto the man page."""
        page.heading("Synopsis")
        page.verbatim(self.files)
        page.heading("Description")
        markdown.put(page, self.introduction)
        page.heading(f"Keys of {self.title[0]}")
        _definitions(page, self._top)
        for name, section, shared in self._sections():
            page.subheading(name)
            page.text(section.description)
            _definitions(page, section.keys, shared)
        markdown.put(page, self.also + self.after)

    @property
    def _top(self) -> list[Key]:
        return [entry for entry in self.schema if isinstance(entry, Key)]

    def _sections(self) -> Iterator[tuple[str, Section, Iterable[Key]]]:
        """Each section with its name, and with the keys in it that have been described before."""
        for entry in self.schema:
            if isinstance(entry, Section):
                yield (
                    (f"{entry.name}.<name>", entry, self.shared) if entry.named else (entry.name, entry, ())
                )
                for key in entry.keys:
                    if key.section is not None and not entry.named:
                        yield f"{entry.name}.{key.name}", key.section, ()
                    if key.instead is not None:
                        yield f"{entry.name}.<name>.{key.name}", key.instead, ()


HOST = Reference(
    ("iampass.yaml", 5, "settings and users of the second factor for logins"),
    (
        "/etc/iampass/iampass.yaml",
        "/etc/iampass/joined.yaml",
        "/etc/iampass/users.yaml",
        "/etc/iampass/users.d/USER.yaml",
    ),
    SCHEMA,
    SHARED,
    _HEAD.format(module="pam_iampass/config/schema.py", title="Settings"),
    _HOST_INTRODUCTION,
    _USERS,
    _HOST_AFTER,
)


def installed_file() -> str:
    """config/iampass.yaml: the keys at their defaults, below the comments of the schema."""
    lines = [
        "# Settings of pam-iampass. All keys: iampass.yaml(5).",
        "# After each change: pam-iampass check",
    ]
    for entry in SCHEMA:
        lines.append("")
        if isinstance(entry, Key):
            lines += [*_commented(entry.comment), f"{entry.name}: {entry.written_default()}".rstrip()]
        else:
            own = [key for key in entry.keys if key.comment and key not in SHARED]
            of_keys = [f"{key.name}: {key.comment[0].lower()}{key.comment[1:]}" for key in own]
            lines += _commented(" ".join([entry.comment, *of_keys]))
            lines.append(f"{entry.name}:{' {}' if entry.named else ''}")
            if not entry.named:
                lines += [f"  {key.name}: {key.written_default()}" for key in entry.keys]
    return "\n".join([*lines, ""])


def _commented(text: str) -> list[str]:
    lines = text.replace("`", "").splitlines()
    return [f"# {part}" for line in lines for part in textwrap.wrap(line, 118, break_on_hyphens=False)]


def gateway() -> Reference:
    """Of the gateway's settings, which only its own libraries can read."""
    return Reference(
        ("gateway.yaml", 5, "settings of a gateway for the second factor of a fleet"),
        ("/etc/iampass-gateway/gateway.yaml",),
        import_module("pam_iampass.gateway.base.settings_schema").SCHEMA,
        (),
        _HEAD.format(module="pam_iampass/gateway/base/settings_schema.py", title="Settings of a gateway"),
        _GATEWAY_INTRODUCTION,
        "",
        _GATEWAY_AFTER,
    )


def portal() -> Reference:
    """Of the portal's settings, which only its own libraries can read."""
    return Reference(
        ("portal.yaml", 5, "settings of the portal of a fleet"),
        ("/etc/iampass-portal/portal.yaml",),
        import_module("pam_iampass.portal.settings").SCHEMA,
        (),
        "",
        _PORTAL_INTRODUCTION,
        "",
        _PORTAL_AFTER,
    )


def _table(keys: Iterable[Key], shared: Iterable[Key] = ()) -> Iterator[str]:
    """The rows of keys; the text above has named the shared ones, and a section is described below."""
    yield "| key | value | default | |"
    yield "| --- | --- | --- | --- |"
    for key in keys:
        if key not in shared:
            about = f" {key.description}" if key.section is None else ""
            value = "; ".join([key.type.description, *_example(key)])
            yield f"| `{key.name}` | {value} | {_default(key) or 'required'} |{about} |"


def _definitions(page: Page, keys: Iterable[Key], shared: Iterable[Key] = ()) -> None:
    again = [f"`{key.name}`" for key in keys if key in shared]
    if again:
        page.definition(", ".join(again), ["As above. The default is the value set there."])
    for key in keys:
        if key not in shared:
            value = ", ".join([key.type.description, *_example(key)]) + "."
            default = f"Default: {_default(key)}." if _default(key) else "Required."
            page.definition(f"`{key.name}`", [key.description, f"{value[0].upper()}{value[1:]} {default}"])


def _example(key: Key) -> list[str]:
    """An example, unless the description of the type or the default is one."""
    known = [key.default, *re.split(r", | or ", key.type.description)]
    is_new = key.section is None and key.type.example not in [*known, "true"]
    return [f"for example `{key.type.example}`"] if is_new else []


def _default(key: Key) -> str:
    """The value of a missing key; empty if the key is required."""
    if key.required:
        return ""
    if key.section is not None:
        return "see below"
    if key.default is None:
        return "`null`"
    return f"`{key.default}`" if isinstance(key.default, str) else "`[]`"
