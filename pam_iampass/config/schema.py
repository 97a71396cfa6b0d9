"""The keys of `iampass.yaml`: the one table for reading, for error messages, and for `docs/settings.md`."""

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
    section: Section | None = None
    """Where the value is a mapping: its keys. A missing mapping has the defaults of its keys."""
    instead: Section | None = None
    """The keys of a mapping that may be written instead of a value of the type."""

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
    return Key(section.name, ValueType("a mapping", str, example=example), None, section.doc, section)


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
    "Logins that need no approval of their own within a kept login, such as sudo. They must be in the same login "
    "session, by the same user, with the same approver, and need no stronger method; and IAMPASS, asked at that "
    "moment, must report that the session is active.",
    merged=True,
)

SESSION = Section(
    "session",
    (
        Key(
            "keep",
            _BOOLEAN,
            "false",
            "Whether the IAMPASS session lasts as long as the login. Otherwise it ends with the approval. This needs a "
            "session line of pam_iampass in the PAM file. On a host of a gateway, only a login that is kept can "
            "cover a login on another host, or be covered by one.",
        ),
        Key(
            "longest",
            _LONGEST_SESSION,
            "12h",
            "How long a session is kept. After that time, `when_closed` applies. "
            f"From 1m to {value_types.LONGEST_SESSION // 3600}h.",
        ),
        Key(
            "check",
            ValueType(_DURATION, value_types.duration(2, 900), example="30s"),
            "30s",
            "How often IAMPASS is asked whether a kept session is still active, from 2s to 15m. "
            "A gateway asks every 30 s, whatever this says.",
        ),
        Key(
            "when_closed",
            _ENFORCEMENT,
            "end",
            "What happens to a login whose session was ended on the phone or at IAMPASS. `end`: the login session is "
            "terminated. `lock`: it is locked if it is graphical; otherwise the same as `revoke`. `revoke`: the "
            "session covers nothing any more, and sudo and doas ask for the password again.",
        ),
        Key(
            "when_away",
            _ENFORCEMENT,
            "revoke",
            "What happens to a login when the phone is no longer near; the values are those of `when_closed`.",
        ),
        Key(
            "unlock_on_return",
            _BOOLEAN,
            "false",
            "Whether a screen that was locked because the phone was no longer near is unlocked when the phone is back.",
        ),
        mapping(COVERS, "{services: [sudo]}"),
        Key(
            "covers_connections",
            _BOOLEAN,
            "false",
            "Whether further ssh logins of the same user from the same address, with the same first factor, need no "
            "approval while a kept login lasts. It has an effect only if sshd asks at a prompt, because otherwise sshd "
            "has not yet said which first factor it has accepted; and not if a key says who logs in "
            "(`approver: key`, or a second person and a table of `keys`). People may share an address: see "
            "sessions.md.",
        ),
    ),
    "Sessions that last as long as the login. A service that does not set a key of `session` has its general value.",
    merged=True,
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
        "What happens to a user who is not in the table: `deny`; `ignore`, the login continues without the phone; or a "
        'template such as `"{user}@example.com"` that makes the token from the user name.',
    ),
    Key(
        "unavailable",
        ValueType("deny or ignore", value_types.choice(WhenUnavailable), example="deny"),
        "deny",
        "What happens if IAMPASS is unreachable and nothing of the request was sent: `deny`; or `ignore`, the login "
        "continues without the phone. `ignore` applies to sshd and login only, and only if the connection is refused "
        "or times out, if there is no route, or if the server's name cannot be looked up. A user of this machine can "
        "cause some of these, too, and then log in as anyone whose first factor they have.",
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
        ValueType("auto, always or never", value_types.choice(Prompt), example="auto"),
        "auto",
        "Whether the user must press Enter before the request is sent: `always`; `never`; or `auto`, only in "
        "applications that would otherwise show our text too late (sshd of OpenSSH before 10.3).",
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
            "Logins from an address in one of these networks; a host name never matches.",
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
            "A user, or the members of a group, if the login comes from a network: `user NAME from NETWORK`, "
            "`group NAME from NETWORK`.",
        ),
    ),
    "Logins that do not need the phone. Without the agent, or with a mistake in this file, they are denied, too: see "
    "`rescue=NAME` in `pam_iampass`(8) for an account that can still log in then.",
)

ASKED = Section(
    "asked",
    (
        Key("users", _names("[alice]"), (), "Users by name."),
        Key("groups", _names("[staff]"), (), "Members of these groups, primary or supplementary."),
    ),
    "Who is asked on the phone; all others are exempt. If both lists are empty, everybody is asked. `exempt` applies "
    "first. While a name in these lists is unknown to the machine, users who are not in the lists are denied.",
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
            ValueType("a name of the user table", value_types.account_name, example="carol"),
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
            "Whether the one who logs in may be asked, too. Otherwise the account, the caller, the person of the key "
            "or of the login session, and anyone with the same token, are left out, and a login is denied if nothing "
            "names a person who has a token: neither a key, nor a kept login session, nor the account. If people share "
            "accounts, the user table must have keys of that name.",
        ),
    ),
    "A second person: `approver` can also be one of `user`, `users` and `group`, each with `allow_self`. They are "
    "asked one after the other within `timeout`, at most once each: the next one only if the one before has no phone, "
    "has not answered in their share of the time (at least 15s), or may be sent no request now. A refusal ends the "
    "login. `exempt` and `asked` are about the one who logs in. Bypasses and recovery codes have no effect.",
)

APPROVER = Key(
    "approver",
    ValueType("user, caller, key, login or a mapping", value_types.choice(Approver), example="caller"),
    "user",
    "Whose phone is asked. `caller`: that of the user who runs the program; in su only if the target is root, "
    "otherwise that of the target. `user`: that of the user whose name PAM gets, which is the target in su and, with "
    "`rootpw`, `targetpw` and `runaspw`, another user than the caller in sudo. `key`, for sshd and accounts that "
    "several people share: that of the person to whom the key belongs that sshd has accepted, or the certificate, as "
    "the user table says; it needs `pam-iampass setup sshd --prompt`. `login`, for sudo, su, doas and polkit "
    "before version 127 in such accounts: that of the person who began the login session in which the program is "
    "called; it needs `session.keep` for the service by which people log in. In su it applies as `caller` does. "
    "A mapping: a second person, see below. Default for sudo and su: `caller`.",
    instead=SECOND_PERSON,
)

OTHERWISE = Key(
    "otherwise",
    ValueType("deny or user", value_types.choice(Otherwise), example="deny"),
    "deny",
    "With `approver: key`, what happens if the key belongs to nobody in the table of `keys`, or if there is none; with "
    "`approver: login`, outside of a login session that is kept and has a person: `deny`; or `user`, the phone of the "
    "account itself is asked (with `login`, that of the caller).",
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
    "The IAMPASS server.",
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
        f"The proxy for connections to {target}; proxy variables in the environment are ignored.",
    )


THROTTLE = (
    Key(
        "cool_off",
        _COOL_OFF,
        "30s",
        "How long an origin has to wait after two requests in a row that were not approved, for whatever "
        "reason, unless a gateway says that it has asked nobody. The time doubles with each further one. An "
        "approval, or an hour without a request, resets it. "
        f"From 0s (no backoff) to {value_types.LONGEST_COOL_OFF}s.",
    ),
    Key("longest_cool_off", replace(_COOL_OFF, example="15m"), "15m", "The longest such time."),
    Key(
        "requests_per_hour",
        _number(1000, "30"),
        "30",
        "How many requests to one user's phone may remain without an approval within an hour, from all origins "
        "together.",
    ),
    Key(
        "logins_at_once",
        _number(1000, "10"),
        "10",
        "How many logins of one user from one origin may wait at the prompt at the same time, and how many "
        "after it. One login of a user has its request on the phone; the others wait for their turn.",
    ),
    Key(
        "spacing",
        ValueType(_DURATION, value_types.duration(0, value_types.LONGEST_SPACING), example="3s"),
        "3s",
        "The time between the end of a request and the next request to the same user, so that nobody approves "
        f"by mistake a request that has just replaced another one. From 0s to {value_types.LONGEST_SPACING}s.",
    ),
)

SCHEMA: tuple[KeyOrSection, ...] = (
    APPLICATION_ID,
    Key(
        "application_secret_file",
        replace(_PATH, example="/etc/iampass/application-secret"),
        "/etc/iampass/application-secret",
        "The file with the application's secret, readable only by root and the group `_iampass`. While the secret is "
        "being changed, the file can have the previous one on a second line.",
    ),
    SERVER,
    Key(
        "ca_file",
        replace(_PATH, example="/etc/iampass/ca.pem", nullable=True),
        None,
        "A file with the CA certificates (PEM) that the server's certificate must come from; `null`: those of the "
        "system.",
    ),
    proxy_key("the server"),
    Key(
        "joined_file",
        replace(_PATH, example="/etc/iampass/joined.yaml", nullable=True),
        "/etc/iampass/joined.yaml",
        "What `pam-iampass join` writes, with `gateway-secret` and `gateway-ca.pem` beside it. If the file exists, "
        "this host asks the gateways that it names, in order; one that has failed is asked after the others for 30s. "
        "`application_id`, `application_secret_file`, `server`, `ca_file`, `proxy` and `unlisted_users` have no "
        "effect then, and nobody needs an entry in the user table, whose tokens are ignored: gateways know people by "
        "name. `null`: the file has no effect.",
    ),
    Key(
        "users",
        _PATH,
        "/etc/iampass/users.yaml",
        "The user table: tokens and ssh keys. The folder `users.d` next to it, with one file for each user, is read "
        "first.",
    ),
    Key(
        "shared_accounts",
        _BOOLEAN,
        "false",
        "Whether several people log in to one account. Where a second person must approve, an account then counts as a "
        "person only if the user table has keys of that name. It is so, too, while anybody there has keys, and with "
        "`approver: key` in a service: set it if the last keys may ever be removed, or the file emptied.",
    ),
    *FOR_SERVICES,
    EXEMPT,
    ASKED,
    SESSION,
    Section(
        "throttle",
        THROTTLE,
        "Limits on the requests to a user's phone. An origin is a PAM service and a remote host. On a host of a "
        "gateway, which has such limits for all hosts, only what the gateway cannot have counted counts here as well.",
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
                "When users are asked for a recovery code in applications that show our text at once (sudo, su, login, "
                "and sshd with a prompt from OpenSSH 10.3 on): `unavailable`, if the phone could not be asked; "
                "`unanswered`, also if the user did not answer; or `never`. Nobody is asked until codes were made for "
                "a user of the machine; on a host of a gateway everybody is asked, since the gateway may have codes.",
            ),
            Key(
                "attempts_per_hour",
                _number(100, "5"),
                "5",
                "How many wrong recovery codes may be typed for one user from one origin within an hour.",
            ),
        ),
        "Codes for users who cannot use their phone: `pam-iampass recovery new USER`.",
    ),
    Section(
        "services",
        (*SHARED, APPROVER, OTHERWISE),
        "Other settings for single PAM services, by the name of their file in `/etc/pam.d`. `exempt` and `asked` "
        "replace the general ones completely; of `session`, only the keys that are set. `methods`, if not empty, apply "
        "also to users who have methods of their own. The settings of `sudo` also apply to `sudo-i`, and those of `su` "
        "to `su-l`, unless these have settings of their own.",
        named=True,
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
