"""The keys of `iampass.yaml`: the one table for reading, for error messages, for `docs/reference/settings.md`, and for
the installed file itself."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Union

from pam_iampass.config import value_types
from pam_iampass.config.value_types import (
    Approver,
    AskForCode,
    Enforcement,
    Otherwise,
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
    """The meaning of the setting, after `comment`."""
    section: Section | None = None
    """Where the value is a mapping: its keys. A missing mapping has the defaults of its keys."""
    instead: Section | None = None
    """The keys of a mapping that may be written instead of a value of the type."""
    comment: str = ""
    """How the description begins: the comment in the installed file."""

    @property
    def required(self) -> bool:
        return self.default is REQUIRED

    @property
    def description(self) -> str:
        """The whole meaning of the setting."""
        return _joined(self.comment, self.doc)

    def default_value(self) -> Any:
        if self.section is not None:
            return self.section.default_value()
        return self.type.read(self.default) if isinstance(self.default, str) else self.default

    def written_default(self) -> str:
        """As in a file; empty if the key is required."""
        if self.section is not None:
            return f"{{{', '.join(f'{key.name}: {key.written_default()}' for key in self.section.keys)}}}"
        return "" if self.required else "null" if self.default is None else self.default or "[]"


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
    comment: str = ""
    """As of a key."""

    @property
    def description(self) -> str:
        """The whole meaning of the setting."""
        return _joined(self.comment, self.doc)

    def default_value(self) -> dict[str, Any]:
        return {} if self.named else {key.name: key.default_value() for key in self.keys}


KeyOrSection = Union[Key, Section]


def mapping(section: Section, example: str) -> Key:
    """A section as a key of another section."""
    value = ValueType("a mapping", str, example=example)
    return Key(section.name, value, None, section.doc, section, comment=section.comment)


def _joined(comment: str, doc: str) -> str:
    return " ".join(f"{comment} {doc}".split())


_DURATION = "a duration"
_LONGEST_SESSION = ValueType(_DURATION, value_types.duration(60, value_types.LONGEST_SESSION), example="12h")
_ENFORCEMENT = ValueType("end, lock or revoke", value_types.choice(Enforcement), example="lock")
_BOOLEAN = ValueType("true or false", value_types.boolean, example="true")

COVERS = Section(
    "covers",
    (
        Key(
            "services",
            ValueType("a list of PAM services", value_types.service_name, example="[sudo]", many=True),
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
    "They must be in the same login session, by the same user, with the same approver and no stronger method. IAMPASS "
    "is asked at that moment, and must report the session as active.",
    merged=True,
    comment="Logins within a kept login that need no approval of their own, such as `{services: [sudo], for: 15m}`.",
)

SESSION = Section(
    "session",
    (
        Key(
            "keep",
            _BOOLEAN,
            "false",
            "The PAM file needs a session line of pam_iampass. On a host of a gateway, only a kept login can cover a "
            "login on another host, or be covered by one.",
            comment="Whether the IAMPASS session lasts as long as the login. Otherwise it ends with the approval.",
        ),
        Key(
            "longest",
            _LONGEST_SESSION,
            "12h",
            f"From 1m to {value_types.LONGEST_SESSION // 3600}h.",
            comment="How long a session is kept at most. After that time, `when_closed` applies.",
        ),
        Key(
            "check",
            ValueType(_DURATION, value_types.duration(2, 900), example="30s"),
            "30s",
            "From 2s to 15m. A gateway always asks every 30 s.",
            comment="How often IAMPASS is asked whether a kept session is active.",
        ),
        Key(
            "when_closed",
            _ENFORCEMENT,
            "end",
            "With `revoke`, sudo and doas also ask for the password again.",
            comment="What happens after the session was ended on the phone or at IAMPASS: `end` (the login ends), "
            "`lock` (a graphical login is locked; for others as `revoke`), `revoke` (the login goes on, and covers "
            "nothing any more).",
        ),
        Key(
            "when_away",
            _ENFORCEMENT,
            "revoke",
            "",
            comment="What happens, in the same way, when the phone is no longer near.",
        ),
        Key(
            "unlock_on_return",
            _BOOLEAN,
            "false",
            "Whether a screen that `when_away: lock` has locked is unlocked when the phone is back.",
        ),
        mapping(COVERS, "{services: [sudo]}"),
        Key(
            "covers_connections",
            _BOOLEAN,
            "false",
            "People may share an address: see one-server/sessions.md.",
            comment="Whether further ssh logins of the same user, from the same address with the same first factor, "
            "need no approval while a kept login lasts. It needs sshd's prompt, and has no effect with `approver: "
            "key`.",
        ),
    ),
    "A service that does not set a key of `session` has its general value.",
    merged=True,
    comment="Sessions that last as long as the login; see one-server/sessions.md (`pam-iampass --help` says where "
    "it is).",
)


def _number(most: int, example: str) -> ValueType:
    return ValueType(f"a number from 1 to {most}", value_types.number(1, most), example=example)


def _names(example: str) -> ValueType:
    return ValueType("a list of names", value_types.account_name, example=example, many=True)


_TIMEOUT = ValueType(_DURATION, value_types.duration(1, value_types.LONGEST_TIMEOUT), example="60s")
_COOL_OFF = ValueType(_DURATION, value_types.duration(0, value_types.LONGEST_COOL_OFF), example="30s")
_PATH = ValueType("an absolute path", value_types.absolute_path, example="/etc/iampass/users.yaml")

FOR_SERVICES = (
    Key(
        "unlisted_users",
        ValueType("deny, ignore or a template", value_types.unlisted_users, example='"{user}@example.com"'),
        "deny",
        "",
        comment="What happens to a user without a token: `deny`; `ignore` (the login continues without the phone); or "
        'a template that makes the token from the user name, such as `"{user}@example.com"`.',
    ),
    Key(
        "unavailable",
        ValueType("deny or ignore", value_types.choice(WhenUnavailable), example="deny"),
        "deny",
        "Unreachable means a refused connection, a time-out, no route, or a failed name lookup. A user of this machine "
        "can cause some of these, and then log in as anyone whose first factor they have.",
        comment="What happens if IAMPASS is unreachable and nothing of the request was sent: `deny`; or `ignore` (the "
        "login continues without the phone), only in sshd and login. A 429 or 5xx response always denies.",
    ),
    Key(
        "timeout",
        _TIMEOUT,
        "60s",
        "",
        comment=f"How long the user has to approve: 1s to {value_types.LONGEST_TIMEOUT}s. sshd's LoginGraceTime must "
        "be at least 30 seconds longer.",
    ),
    Key(
        "methods",
        value_types.METHOD_LIST,
        (),
        "",
        comment="Ways to approve: `acceptance`, `device`, `facial`. Empty: IAMPASS chooses.",
    ),
    Key(
        "prompt",
        ValueType("auto, always or never", value_types.choice(Prompt), example="auto"),
        "auto",
        "",
        comment="Whether the user must press Enter before the request is sent: `auto` (only in applications that would "
        "show our text too late, such as sshd of OpenSSH before 10.3), `always`, `never`.",
    ),
)

EXEMPT = Section(
    "exempt",
    (
        Key("users", _names("[backup]"), (), "Users by name."),
        Key("groups", _names("[operators]"), (), "Members of these groups, primary or supplementary."),
        Key(
            "networks",
            ValueType("a list of networks", value_types.network, example="[192.0.2.0/24]", many=True),
            (),
            "Logins from an address in one of these networks.",
        ),
        Key(
            "rules",
            ValueType(
                "a list of rules",
                value_types.exempt_rule,
                example="[user backup from 192.0.2.0/24]",
                many=True,
            ),
            (),
            "A user, or the members of a group, if the login comes from the network.",
        ),
    ),
    "If the agent does not run or this file has an error, these logins are denied, too. For an account that can still "
    "log in then, see `rescue=NAME` in `pam_iampass`(8).",
    comment="Logins that do not need the phone. Networks are written like 192.0.2.0/24; host names never match. A rule "
    "names a user or a group, and a network: `user backup from 192.0.2.0/24`, `group automation from 192.0.2.0/24`.",
)

ASKED = Section(
    "asked",
    (
        Key("users", _names("[alice]"), (), "Users by name."),
        Key("groups", _names("[staff]"), (), "Members of these groups, primary or supplementary."),
    ),
    "`exempt` applies first. While the machine does not know a name in these lists, it denies users who are not in the "
    "lists.",
    comment="If there is a name here, only these users and groups are asked, and all others are exempt.",
)


SHARED: tuple[Key, ...] = (
    *FOR_SERVICES,
    mapping(EXEMPT, "{groups: [operators]}"),
    mapping(ASKED, "{groups: [staff]}"),
    mapping(SESSION, "{keep: true}"),
)
"""The keys of the file that a service can have as well."""

SECOND_PERSON = Section(
    "approver",
    (
        Key(
            "user",
            value_types.USER_NAME,
            None,
            "The one person who is asked.",
        ),
        Key(
            "users",
            _names("[carol, dave]"),
            (),
            "The people who are asked, by their names in the user table.",
        ),
        Key(
            "group",
            ValueType("a group of the machine", value_types.account_name, example="oncall"),
            None,
            "The members that the group's entry lists (`getent group`) and that have a token, in the order of names.",
        ),
        Key(
            "allow_self",
            _BOOLEAN,
            "false",
            "Whether the person who logs in may be asked, too. Otherwise the account, the caller, the person of the "
            "key or of the login session, and everybody with the same token are left out. A login is then denied if "
            "neither a key, nor a kept login session, nor the account names a person with a token. For shared "
            "accounts, see `shared_accounts`.",
        ),
    ),
    "A second person: one of `user`, `users` and `group`, with or without `allow_self`. People are asked one after the "
    "other within `timeout`, each at most once. The next person is asked if the one before has no phone, may be sent "
    "no request now, or does not answer. For an answer, each has a share of the time, at least 15s. A refusal ends "
    "the login. `exempt` and `asked` apply to the user who logs in. Bypasses and recovery codes have no effect.",
)

APPROVER = Key(
    "approver",
    ValueType("user, caller, key, login or a mapping", value_types.choice(Approver), example="caller"),
    "user",
    "With `rootpw`, `targetpw` and `runaspw`, sudo gives PAM another user than the caller. `key` and `login` are for "
    "accounts that several people share (shared-accounts.md). `key` needs `pam-iampass setup sshd --prompt`.",
    instead=SECOND_PERSON,
    comment="Whose phone is asked. Without `approver` it is `caller` for sudo and su, and `user` for all others.\n"
    "  `caller`: the user who runs the program. In su, if the target is not root, the target.\n"
    "  `user`: the user whose name PAM gets. In su, the target.\n"
    "  `key`: in sshd, the person whose key it is.\n"
    "  `login`: in sudo, doas and, as with `caller`, su, the person who approved the login session. It needs "
    "`session.keep` for the service of that login.\n"
    "  `{user: carol}`, `{users: [carol, dave]}` or `{group: oncall}`: a second person.",
)

OTHERWISE = Key(
    "otherwise",
    ValueType("deny or user", value_types.choice(Otherwise), example="deny"),
    "deny",
    "The person is not known if the login has no key, or one that the user table gives to nobody. With `login`, the "
    "person is not known if the login session is not kept or has no person.",
    comment="With `approver: key` or `login`, what happens if the person is not known: `deny`; or `user`, the "
    "phone of the account itself is asked (with `login`, that of the caller).",
)

# Keys that a gateway has as well.

APPLICATION_ID = Key(
    "application_id",
    ValueType("the id of your application", value_types.application_id, example="my-application"),
    REQUIRED,
    "The id of your application at IAMPASS.",
)

SERVER = Key(
    "server",
    ValueType("an https address without a path", value_types.server, example="https://iam-api.com"),
    "https://iam-api.com",
    "",
    comment="The IAMPASS server, https only.",
)


def proxy_key(target: str) -> Key:
    """The key for a proxy to `target`."""
    return Key(
        "proxy",
        ValueType(
            "an http address with a port",
            value_types.proxy,
            example="http://proxy.example.com:3128",
            nullable=True,
        ),
        None,
        "",
        comment=f"The proxy for connections to {target}, such as `http://proxy.example.com:3128`. Environment "
        "variables are ignored.",
    )


THROTTLE = (
    Key(
        "cool_off",
        _COOL_OFF,
        "30s",
        "An approval, or an hour without a request, resets the time. From 0s (no backoff) to "
        f"{value_types.LONGEST_COOL_OFF}s.",
        comment="How long an origin (service and remote host) has to wait after two requests in a row that were not "
        "approved; it doubles each time, up to `longest_cool_off`.",
    ),
    Key("longest_cool_off", replace(_COOL_OFF, example="15m"), "15m", "The longest such time."),
    Key(
        "requests_per_hour",
        _number(1000, "30"),
        "30",
        "How many requests to one user may stay without an approval within an hour, from all origins together.",
    ),
    Key(
        "logins_at_once",
        _number(1000, "10"),
        "10",
        "How many logins of one user from one origin may wait at the prompt, and how many after it. Only one has its "
        "request on the phone.",
    ),
    Key(
        "spacing",
        ValueType(_DURATION, value_types.duration(0, value_types.LONGEST_SPACING), example="3s"),
        "3s",
        f"From 0s to {value_types.LONGEST_SPACING}s.",
        comment="The time between two requests to the same user, so that nobody approves by mistake a request that has "
        "just replaced another one.",
    ),
)

SCHEMA: tuple[KeyOrSection, ...] = (
    replace(
        APPLICATION_ID,
        comment=f"{APPLICATION_ID.doc} Until it is set, every login is denied.",
        doc="",
    ),
    Key(
        "application_secret_file",
        replace(_PATH, example="/etc/iampass/application-secret"),
        "/etc/iampass/application-secret",
        "While you change the secret, a second line can have the previous one.",
        comment="A file that contains the application's secret. To write it:\n"
        "    `install -o root -g _iampass -m 0640 /dev/stdin /etc/iampass/application-secret`",
    ),
    SERVER,
    Key(
        "ca_file",
        replace(_PATH, example="/etc/iampass/ca.pem", nullable=True),
        None,
        "",
        comment="A PEM file of certificates to trust for the server. `null`: the system's certificates.",
    ),
    proxy_key("the server"),
    Key(
        "joined_file",
        replace(_PATH, example="/etc/iampass/joined.yaml", nullable=True),
        "/etc/iampass/joined.yaml",
        "It asks them in order; a gateway that failed is last for 30s. The five keys above, `unlisted_users` and "
        "the tokens of the user table then have no effect, because gateways know people by name. `null`: the file has "
        "no effect.",
        comment="`pam-iampass join` writes this file. If it exists, this host asks the gateways in it instead of "
        "`server`.",
    ),
    Key(
        "users",
        _PATH,
        "/etc/iampass/users.yaml",
        "",
        comment="The user table, with tokens and ssh keys. The folder `users.d` beside it is read first: one file per "
        "user, `<user>.yaml`.",
    ),
    Key(
        "shared_accounts",
        _BOOLEAN,
        "false",
        "",
        comment="Whether several people log in to the same account. If a second person must approve, an account then "
        "counts as a person only if the user table has ssh keys of its name: see one-server/deploy.md.",
    ),
    Key(
        "show_command",
        _BOOLEAN,
        "true",
        "",
        comment="Whether records, and the gateway if there is one, have the command line of sudo, su or doas. Its "
        "arguments can hold secrets.",
    ),
    *FOR_SERVICES,
    EXEMPT,
    ASKED,
    SESSION,
    Section(
        "throttle",
        THROTTLE,
        "On a host of a gateway, these limits apply only to requests that the gateway cannot count.",
        comment="Limits of this machine on requests to one phone.",
    ),
    Section(
        "agents",
        (
            Key(
                "requests_per_hour",
                _number(1000, "10"),
                "10",
                "As `throttle.requests_per_hour`, for all accounts that act for one user together. Their requests do "
                "not count for the user.",
            ),
        ),
        "",
        comment="Accounts that act for a user (`acts_for` in the user table), such as those of AI agents: see "
        "one-server/agents.md.",
    ),
    Section(
        "recovery",
        (
            Key(
                "ask",
                ValueType(
                    "never, unavailable or unanswered", value_types.choice(AskForCode), example="unanswered"
                ),
                "unanswered",
                "Nobody is asked before codes were made for a user of this machine. On a host of a gateway everybody "
                "is asked.",
                comment="When applications that show our text at once ask for a code: `never`; `unavailable`, if no "
                "request could be sent; `unanswered`, also if nobody answered. Such applications are sudo, su, login "
                "and, from OpenSSH 10.3 on, sshd's prompt.",
            ),
            Key(
                "attempts_per_hour",
                _number(100, "5"),
                "5",
                "How many wrong recovery codes may be typed for one user from one origin within an hour.",
            ),
        ),
        "",
        comment="Recovery codes for users who cannot use their phone (`pam-iampass recovery new USER`). In sshd, users "
        "type them at the prompt or, with `setup sshd --codes`, before the key.",
    ),
    Section(
        "services",
        (*SHARED, APPROVER, OTHERWISE),
        "`methods`, if not empty, apply also to users who have methods of their own.",
        named=True,
        comment="Settings for single PAM services, by the name of their file in `/etc/pam.d`: `timeout`, `methods`, "
        "`prompt`, `unlisted_users`, `unavailable`, `exempt`, `asked` (these two replace those above), single keys of "
        "`session`, `approver` and `otherwise`. The settings of sudo also apply to sudo-i, and those of su to su-l, "
        "unless these have settings of their own.",
    ),
)

GATEWAYS = ValueType(
    "a list of https addresses without a path",
    value_types.server,
    example="[https://gateway.example.com:8443]",
    many=True,
)
OF_JOINED_HOST: tuple[KeyOrSection, ...] = (
    replace(APPLICATION_ID, doc="The id of this host at the gateway."),
    Key("gateways", GATEWAYS, REQUIRED, "The gateways, which are asked in this order."),
)
"""The keys of `joined.yaml`, which `pam-iampass join` writes."""
