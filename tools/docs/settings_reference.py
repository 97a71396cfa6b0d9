"""The pages about the settings: docs/reference/settings.md and iampass.yaml(5); docs/reference/gateway-settings.md and
gateway.yaml(5); portal.yaml(5). And config/iampass.yaml, which is installed."""

from __future__ import annotations

import re
import textwrap
from dataclasses import dataclass
from importlib import import_module
from typing import TYPE_CHECKING

from pam_iampass.config.schema import SCHEMA, SHARED, THROTTLE, Key, KeyOrSection, Section
from tools.docs import markdown

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from tools.docs.roff import Page

_HEAD = "<!-- Made by `make pages`; change `{module}` instead. -->\n# {title}\n\n"

_HOST_INTRODUCTION = """\
`/etc/iampass/iampass.yaml` configures the module, `/etc/iampass/users.yaml` lists the users. `pam-iampass check`
reports every problem in both. Logins are denied until all errors are fixed.

The files and all folders above them must belong to root, and only root may be able to write to them. The files must not
be symbolic links. Only root and the group `_iampass` may be able to read the secret: `chown root:_iampass`,
`chmod 0640`.

The format is a strict form of YAML in UTF-8: each key at most once, and no anchors, aliases, tags or merge keys.
Durations are written with their unit: `60s`, `2m`, `1h` or `1d`. Paths are absolute.
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

Names and tokens are always text, also `no`, `null` and `0123`. A token has 1 to 256 characters, no control characters,
and is not `.` or `..`. An error in the file denies the logins of all users in it.

`keys` are for `approver: key` and second persons. Each is a public key, its fingerprint, or a mapping of `ca` with
`key_id` or `principal`, which names certificates of that CA. A key that two users have logs in nobody. A user with keys
and no token has the token of `unlisted_users`, or is known to the gateway.

`acts_for` names the owner of an account for an AI agent, a build job or a robot. The owner's phone approves its logins
and each of its calls of sudo. [agents.md](../one-server/agents.md) sets up such an account.

- The owner must be a user with a token in the table, and must not act for anybody.
- The account has no token, methods, keys or recovery codes. [SECURITY.md](../../SECURITY.md#guarantees), 19, lists
  what lets it log in.
- The account approves for nobody, and the owner is never the second person for it.
- `asked` and `exempt.networks` do not spare the account. If it is in `exempt` by its name, a group or a rule, or cannot
  act for its owner, its own logins are denied, and `check` reports an error.
- A host that has joined a gateway denies every account with `acts_for`.

A file `users.d/<user>.yaml` beside the table holds one user in the same form, and replaces the line in `users.yaml`. An
error in it denies only the logins of that user. With such files, a login is as fast with 100,000 users as with 10.
With keys, a login looks at all files (a thousand take 20 ms), and the first login after a change reads them. If every
user has a file there, keep an empty `users.yaml`. While it is missing, users without a file are denied, except on
a host of a gateway.

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

The file must belong to root, and only root may be able to write to it. The secrets are in files of their own, which
only root can read; systemd passes them to the service. The format is that of [iampass.yaml](settings.md).
"""

_PORTAL_INTRODUCTION = """\
`/etc/iampass-portal/portal.yaml` configures the portal of a fleet, which runs on a gateway. `pam-iampass-gateway portal
setup` writes it. Without a certificate that can be read the portal does not start, unless it is behind a proxy.

The file must belong to root, and only root may be able to write to it. The certificate and its key are in files of
their own; systemd passes them to the service. The format is that of `iampass.yaml`(5).
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
    as_on_a_host: tuple[Key, ...] = ()
    """Keys that the page in docs/ need not describe again."""

    def page(self) -> str:
        """The page in docs/."""
        parts = [f"{self.head}{self.introduction}\n## Keys of {self.title[0]}\n", *_table(self._top)]
        for name, section, shared in self._sections():
            parts += [
                f"\n### {name}\n\n{section.description}\n",
                *_table(section.keys, shared, self.as_on_a_host),
            ]
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
        lines += ["", *_commented(entry.comment)]
        if isinstance(entry, Key):
            lines.append(f"{entry.name}: {entry.written_default()}".rstrip())
            continue
        own = [key for key in entry.keys if key not in SHARED]
        if entry.named:
            for key in own:
                lines += _commented(f"{key.name}: {key.comment}", hanging="    ")
            lines.append(f"{entry.name}: {{}}")
            continue
        lines.append(f"{entry.name}:")
        for key in own:
            lines += [*_commented(key.comment, "  "), f"  {key.name}: {key.written_default()}"]
    return "\n".join([*lines, ""])


def _commented(text: str, indent: str = "", hanging: str = "") -> list[str]:
    lines = text.replace("`", "").splitlines()
    prefix = f"{indent}# "
    return [
        part
        for line in lines
        for part in textwrap.wrap(
            line, 120, initial_indent=prefix, subsequent_indent=prefix + hanging, break_on_hyphens=False
        )
    ]


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
        THROTTLE,
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


def _table(
    keys: Iterable[Key], shared: Iterable[Key] = (), as_on_a_host: Iterable[Key] = ()
) -> Iterator[str]:
    """The rows of keys; the text above has named the shared ones, and a section is described below."""
    yield "| key | default | |"
    yield "| --- | --- | --- |"
    own = [key for key in keys if key not in shared]
    for key, (kind, *example) in zip(own, _values(own)):
        about = [key.description] if key.section is None else []
        if key in as_on_a_host:
            about = ["As [on a host](settings.md#throttle)."]
        elif kind.startswith("a number"):
            about.append(f"{kind[9:].capitalize()}.")
        elif not isinstance(key.default, str):
            about += [f"{each[0].upper()}{each[1:]}." for each in example]
        yield f"| `{key.name}` | {_default(key) or 'required'} | {' '.join(about)} |"


def _definitions(page: Page, keys: Iterable[Key], shared: Iterable[Key] = ()) -> None:
    again = [f"`{key.name}`" for key in keys if key in shared]
    if again:
        page.definition(", ".join(again), ["As above. The default is the value set there."])
    own = [key for key in keys if key not in shared]
    for key, values in zip(own, _values(own)):
        value = ", ".join(values)
        default = f"Default: {_default(key)}." if _default(key) else "Required."
        page.definition(f"`{key.name}`", [key.description, f"{value[0].upper()}{value[1:]}. {default}"])


def _values(keys: Iterable[Key]) -> Iterator[list[str]]:
    """What each key takes. The first key of a type has an example, unless its description or default is one."""
    shown = set()
    for key in keys:
        known = [key.default, "true", *re.split(r", | or ", key.type.description)]
        is_known = key.type.example in known or key.type.example.strip('"') in key.description
        if key.section is not None or is_known or key.type.description in shown:
            yield [key.type.description]
        else:
            shown.add(key.type.description)
            yield [key.type.description, f"for example `{key.type.example}`"]


def _default(key: Key) -> str:
    """The value of a missing key; empty if the key is required."""
    if key.required:
        return ""
    if key.section is not None:
        return "see below"
    if key.default is None:
        return "`null`"
    return f"`{key.default}`" if isinstance(key.default, str) else "`[]`"
