"""The keys of `iampass.yaml`: the one table for reading, for error messages, and for `docs/settings.md`."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Union

from pam_iampass.config import value_types
from pam_iampass.config.value_types import (
    Approver,
    AskForCode,
    Enforcement,
    Prompt,
    ValueType,
    WhenUnavailable,
)

REQUIRED = object()
"""The default of a key that must be set."""


@dataclass(frozen=True)
class Key:
    """One key of the file."""

    name: str
    type: ValueType
    default: Any
    """As written in the file: a text, None for null, () for an empty list; or REQUIRED."""
    doc: str
    section: Section | None = None
    """Where the value is a mapping: its keys. A missing mapping has the defaults of its keys."""

    @property
    def required(self) -> bool:
        return self.default is REQUIRED

    def default_value(self) -> Any:
        if self.section is not None:
            return self.section.default_value()
        return self.type.read(self.default) if isinstance(self.default, str) else self.default


@dataclass(frozen=True)
class Section:
    """A key with further keys below it."""

    name: str
    keys: tuple[Key, ...]
    doc: str
    named: bool = False
    """Whether the keys are below names that the administrator chooses."""
    merged: bool = False
    """Whether a service takes over the general values of the keys that it does not set."""

    def default_value(self) -> dict[str, Any]:
        return {} if self.named else {key.name: key.default_value() for key in self.keys}


KeyOrSection = Union[Key, Section]


def mapping(section: Section, example: str) -> Key:
    """A section as a key of another section."""
    return Key(section.name, ValueType("a mapping", str, example), None, section.doc, section)


_DURATION = "a duration"
_LONGEST_SESSION = ValueType(_DURATION, value_types.duration(60, value_types.LONGEST_SESSION), "12h")
_ENFORCEMENT = ValueType("end, lock or revoke", value_types.choice(Enforcement), "lock")
_BOOLEAN = ValueType("true or false", value_types.boolean, "true")

COVERS = Section(
    "covers",
    (
        Key(
            "services",
            ValueType("a list of PAM services", value_types.service_name, "[sudo]", many=True),
            (),
            "The PAM services, by the name of their file in `/etc/pam.d`. `sudo` includes `sudo-i`, and `su` `su-l`.",
        ),
        Key(
            "for",
            replace(_LONGEST_SESSION, example="15m"),
            "15m",
            "How long after the approval; not longer than `longest`.",
        ),
    ),
    "Logins that need no approval of their own within a kept login, such as sudo: in the same login session, by the "
    "same user, with the same approver, by no stronger methods, and only if IAMPASS, asked at that moment, reports "
    "that the session is active.",
    merged=True,
)

SESSION = Section(
    "session",
    (
        Key(
            "keep",
            _BOOLEAN,
            "false",
            "Whether the IAMPASS session lasts as long as the login. Otherwise it ends with the approval. Needs a "
            "session line of pam_iampass in the PAM file, and the agent.",
        ),
        Key(
            "longest",
            _LONGEST_SESSION,
            "12h",
            "How long a session is kept. When the time is over, `when_closed` applies. "
            f"From 1m to {value_types.LONGEST_SESSION // 3600}h.",
        ),
        Key(
            "check",
            ValueType(_DURATION, value_types.duration(2, 900), "30s"),
            "30s",
            "How often IAMPASS is asked whether a kept session is still active, from 2s to 15m.",
        ),
        Key(
            "when_closed",
            _ENFORCEMENT,
            "end",
            "What happens to a login whose session was ended on the phone or at IAMPASS: `end`, the login session is "
            "terminated; `lock`, it is locked if it is graphical, otherwise as `revoke`; `revoke`, it covers nothing "
            "any more, and sudo and doas forget the user's password.",
        ),
        Key(
            "when_away",
            _ENFORCEMENT,
            "revoke",
            "What happens to a login when the phone is no longer near: as `when_closed`.",
        ),
        Key(
            "unlock_on_return",
            _BOOLEAN,
            "false",
            "Whether a login that was locked because the phone was no longer near is unlocked when the phone returns.",
        ),
        mapping(COVERS, "{services: [sudo]}"),
        Key(
            "covers_connections",
            _BOOLEAN,
            "false",
            "Whether further ssh logins of the same user from the same address, by the same first factor, need no "
            "approval while a kept login lasts. Only where sshd asks at a prompt: without one, sshd has not said yet "
            "which key or password it was. An address can be shared: see sessions.md.",
        ),
    ),
    "Sessions that last as long as the login. A service takes over the general values of the keys that it does not "
    "set.",
    merged=True,
)


def _number(most: int, example: str) -> ValueType:
    return ValueType(f"a number from 1 to {most}", value_types.number(1, most), example)


def _names(example: str) -> ValueType:
    return ValueType("a list of names", value_types.account_name, example, many=True)


_TIMEOUT = ValueType(_DURATION, value_types.duration(1, value_types.LONGEST_TIMEOUT), "60s")
_COOL_OFF = ValueType(_DURATION, value_types.duration(0, value_types.LONGEST_COOL_OFF), "30s")
_PATH = ValueType("an absolute path", value_types.absolute_path, "/etc/iampass/users.yaml")

FOR_SERVICES = (
    Key(
        "unlisted_users",
        ValueType("deny, ignore or a template", value_types.unlisted_users, '"{user}@example.com"'),
        "deny",
        "What happens to a user who is not in the table: `deny`; `ignore`, to continue without a second factor; or a "
        'template such as `"{user}@example.com"` that makes the token from the user name.',
    ),
    Key(
        "unavailable",
        ValueType("deny or ignore", value_types.choice(WhenUnavailable), "deny"),
        "deny",
        "What happens if IAMPASS is unreachable before anything of the request was sent: `deny`, or `ignore` to "
        "continue without a second factor. `ignore` applies to sshd and login only, and if the connection was refused "
        "or timed out, there is no route, or the server's name cannot be looked up. A user of this machine can cause "
        "some of these too, and then log in as anyone whose first factor they have.",
    ),
    Key(
        "timeout",
        _TIMEOUT,
        "60s",
        f"How long the user has to approve the login, from 1s to {value_types.LONGEST_TIMEOUT}s.",
    ),
    Key(
        "methods",
        value_types.METHOD_LIST,
        (),
        "The methods by which the user may approve; an empty list leaves the choice to IAMPASS.",
    ),
    Key(
        "prompt",
        ValueType("auto, always or never", value_types.choice(Prompt), "auto"),
        "auto",
        "Whether the user must press Enter before the request is sent: `always`; `never`; or `auto`, only where the "
        "application would otherwise not show our text (sshd).",
    ),
    Key(
        "enroll_at_login",
        _BOOLEAN,
        "false",
        "Whether a user in the table (not one of `unlisted_users`) without a phone is shown the registration link at "
        "login; after the registration the user logs in again. Only works with `first_factor=publickey` on the PAM "
        "line: everybody who sees the link can register a phone, so after a password alone it would not be a second "
        "factor.",
    ),
)

EXEMPT = Section(
    "exempt",
    (
        Key("users", _names("[backup]"), (), "Users by name."),
        Key("groups", _names("[operators]"), (), "Members of these groups, primary or supplementary."),
        Key(
            "networks",
            ValueType("a list of networks", value_types.network, "[192.0.2.0/24]", many=True),
            (),
            "Logins from an address in one of these networks; a host name never matches.",
        ),
        Key(
            "rules",
            ValueType(
                "a list of rules", value_types.exempt_rule, "[user backup from 192.0.2.0/24]", many=True
            ),
            (),
            "A user or the members of a group, but only from a network: `user NAME from NETWORK`, "
            "`group NAME from NETWORK`.",
        ),
    ),
    "Logins that need no second factor. The agent decides them too, by these settings; for the account that gets in if "
    "no agent runs, or if a mistake in this file denies all logins, see `rescue=NAME` in `pam_iampass`(8).",
)

ASKED = Section(
    "asked",
    (
        Key("users", _names("[alice]"), (), "Users by name."),
        Key("groups", _names("[staff]"), (), "Members of these groups, primary or supplementary."),
    ),
    "Who needs the second factor; all others are exempt. If both lists are empty: everybody. `exempt` applies first. "
    "While a name in these lists is unknown to the machine, users who are not in them are denied.",
)


SHARED: tuple[Key, ...] = (
    *FOR_SERVICES,
    mapping(EXEMPT, "{groups: [operators]}"),
    mapping(ASKED, "{groups: [staff]}"),
    mapping(SESSION, "{keep: true}"),
)
"""The keys of the file that a service can have as well."""

APPROVER = Key(
    "approver",
    ValueType("user or caller", value_types.choice(Approver), "caller"),
    "user",
    "Whose phone is asked: `user`, that of the user whose name PAM gets (in su the target; in sudo the caller or, with "
    "`rootpw`, `targetpw` and `runaspw`, another user); or `caller`, that of the user who runs the program, in su only "
    "if the target is root. For sudo and su the default is `caller`.",
)

SCHEMA: tuple[KeyOrSection, ...] = (
    Key(
        "application_id",
        ValueType("the id of your application", value_types.application_id, "my-application"),
        REQUIRED,
        "The id of your application at IAMPASS.",
    ),
    Key(
        "application_secret_file",
        replace(_PATH, example="/etc/iampass/application-secret"),
        "/etc/iampass/application-secret",
        "The file with the application's secret, readable only by root and the group `_iampass`. While the secret is "
        "being changed, the previous one can stand on a second line.",
    ),
    Key(
        "server",
        ValueType("an https address without a path", value_types.server, "https://iam-api.com"),
        "https://iam-api.com",
        "The IAMPASS server.",
    ),
    Key(
        "ca_file",
        replace(_PATH, example="/etc/iampass/ca.pem", nullable=True),
        None,
        "A file of CA certificates (PEM) to trust for the server; `null` for those of the system.",
    ),
    Key(
        "proxy",
        ValueType(
            "an http address with a port", value_types.proxy, "http://proxy.example.com:3128", nullable=True
        ),
        None,
        "The proxy for connections to the server; proxy variables in the environment are ignored.",
    ),
    Key(
        "users",
        _PATH,
        "/etc/iampass/users.yaml",
        "The user table. The folder `users.d` next to it, with one file for each user, is read first.",
    ),
    *FOR_SERVICES,
    EXEMPT,
    ASKED,
    SESSION,
    Section(
        "throttle",
        (
            Key(
                "cool_off",
                _COOL_OFF,
                "30s",
                "Backoff after two consecutive requests from the same origin that were not approved, whatever the "
                "reason; doubles with each further one; reset by an approval or an idle hour. "
                f"From 0s (no backoff) to {value_types.LONGEST_COOL_OFF}s.",
            ),
            Key("longest_cool_off", replace(_COOL_OFF, example="15m"), "15m", "The maximum backoff."),
            Key(
                "requests_per_hour",
                _number(1000, "30"),
                "30",
                "The maximum number of requests to one user's phone within an hour, from all origins, that were not "
                "approved.",
            ),
            Key(
                "logins_at_once",
                _number(1000, "10"),
                "10",
                "The maximum number of concurrent logins of one user from one origin: so many at the prompt, and so "
                "many after it. One login of a user has a request on the phone; the others wait for their turn.",
            ),
            Key(
                "spacing",
                ValueType(_DURATION, value_types.duration(0, value_types.LONGEST_SPACING), "3s"),
                "3s",
                "The time between the end of a request and the next request to the same user, so that nobody approves "
                f"one that has just taken the place of another. From 0s to {value_types.LONGEST_SPACING}s.",
            ),
        ),
        "Limits on the requests to a user's phone. An origin is a PAM service and a remote host.",
    ),
    Section(
        "recovery",
        (
            Key(
                "ask",
                ValueType("never, unavailable or unanswered", value_types.choice(AskForCode), "unanswered"),
                "unanswered",
                "When users are asked for a recovery code in applications without a prompt before the request (sudo, "
                "su, login): `unavailable`, if the phone could not be asked; `unanswered`, also if the "
                "phone did not answer; or `never`. Nobody is asked until the first codes are made on the machine.",
            ),
            Key(
                "attempts_per_hour",
                _number(100, "5"),
                "5",
                "The maximum number of wrong recovery codes of one user from one origin within an hour.",
            ),
        ),
        "Codes for users who cannot use their phone: `pam-iampass recovery new USER`.",
    ),
    Section(
        "services",
        (*SHARED, APPROVER),
        "Different settings for single PAM services, by the name of their file in `/etc/pam.d`. `exempt` and `asked` "
        "replace the general ones; of `session`, single keys do. `methods`, if not empty, hold even for users with "
        "methods of their own. The settings of `sudo` also hold for `sudo-i`, those of `su` for `su-l`, unless these "
        "are named.",
        named=True,
    ),
)
