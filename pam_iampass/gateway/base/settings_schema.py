"""The keys of `gateway.yaml`: what each means, which values it takes, and its default."""

from __future__ import annotations

import enum
import json
import re
import textwrap
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import psycopg
from psycopg.conninfo import conninfo_to_dict, make_conninfo
from psycopg.pq import Conninfo

from pam_iampass.config import value_types
from pam_iampass.config.schema import (
    APPLICATION_ID,
    GATEWAYS,
    REQUIRED,
    SERVER,
    THROTTLE,
    Key,
    KeyOrSection,
    Section,
    mapping,
    proxy_key,
)
from pam_iampass.config.value_types import InvalidValue, ValueType
from pam_iampass.gateway.base.places import FOLDER


def _host_name(text: str) -> str:
    if not re.fullmatch(r"(?!-)[A-Za-z0-9.-]{1,253}|[0-9A-Fa-f:.]+", text):
        raise InvalidValue("is not a host name or an address", "write for example gateway.example.com")
    return text.lower()


def _conninfo(text: str) -> str:
    remedy = (
        "write for example dbname=iampass, or host=db.example.com dbname=iampass sslmode=verify-full; "
        "a password belongs into ~/.pgpass of _iampass-gateway"
    )
    shown = masked(text)
    if not shown or not text.isprintable():  # the words of libpq may have a part of a password
        raise InvalidValue("is not a connection string that libpq can read", remedy, "…")
    if conninfo_to_dict(shown) != conninfo_to_dict(text):
        raise InvalidValue("has a password, which anybody may read here", remedy, shown)
    return text


def masked(conninfo: str) -> str:
    """A connection string as it may be shown, without its passwords; empty if libpq cannot read it."""
    try:
        values = conninfo_to_dict(conninfo)
    except psycopg.ProgrammingError:
        return ""
    secret = {option.keyword.decode() for option in Conninfo.get_defaults() if option.dispchar == b"*"}
    return make_conninfo("", **{name: "…" if name in secret else value for name, value in values.items()})


def _directory_url(text: str) -> str:
    if not re.fullmatch(r"ldaps?://([A-Za-z0-9.-]{1,253}|\[[0-9A-Fa-f:.]+\])(:[0-9]{1,5})?/?", text):
        raise InvalidValue("is not the address of a directory", "write for example ldaps://ldap.example.com")
    return text.rstrip("/")


def _distinguished_name(text: str) -> str:
    if "=" not in text or not text.isprintable():
        raise InvalidValue("is not a distinguished name", "write for example ou=people,dc=example,dc=com")
    return text


def _filter(text: str) -> str:
    if not (text.startswith("(") and text.endswith(")") and text.isprintable()):
        raise InvalidValue("is not a filter", "write for example (objectClass=inetOrgPerson)")
    return text


def _attribute(text: str) -> str:
    if not re.fullmatch("[A-Za-z][A-Za-z0-9-]*", text):
        raise InvalidValue("is not the name of an attribute", "write for example uid")
    return text


class Invite(enum.Enum):
    """When a person of the directory is sent a message with a registration link."""

    NEVER = "never"
    FIRST_LOGIN = "first_login"
    AT_ONCE = "at_once"


_PATH = ValueType("an absolute path", value_types.absolute_path, example="/etc/iampass-gateway/ca.pem")

_BOOLEAN = ValueType("true or false", value_types.boolean, example="true")

_PEOPLE = ValueType("a list of groups of people", value_types.account_name, example="[staff]", many=True)


def _file(name: str, file: str, doc: str) -> Key:
    return Key(name, replace(_PATH, example=str(FOLDER / file)), str(FOLDER / file), doc)


def _number(name: str, most: int, default: str, doc: str) -> Key:
    accepted = ValueType(f"a number from 1 to {most}", value_types.number(1, most), example=default)
    return Key(name, accepted, default, doc)


def _duration(name: str, shortest: int, longest: int, default: str, doc: str) -> Key:
    accepted = ValueType("a duration", value_types.duration(shortest, longest), example=default)
    return Key(name, accepted, default, doc)


GROUPS = Section(
    "groups",
    (
        Key(
            "people",
            _PEOPLE,
            (),
            "The groups of people who can log in to these hosts. If the list is empty, nobody can, unless `everybody` "
            "is set.",
        ),
        Key(
            "everybody",
            _BOOLEAN,
            "false",
            "Whether all people can log in to these hosts. Then `people` must be empty.",
        ),
        Key(
            "admit",
            _BOOLEAN,
            "false",
            "Whether a host that has joined must be admitted (`pam-iampass-gateway host admit`) before it can send "
            "requests.",
        ),
        Key(
            "suspend_by_itself",
            _BOOLEAN,
            "false",
            "Whether the gateway stops a host after three different people have denied its requests. Otherwise "
            "the gateway only slows it down. Open sessions go on.",
        ),
        Key(
            "codes",
            _BOOLEAN,
            "true",
            "Whether recovery codes can be redeemed on these hosts. Root of a host can keep a code that is typed "
            "there, say that it was wrong, and use it elsewhere. So write `false` for hosts whose root you trust "
            "less, or to which many people log in. In groups that a `covered_by` names, the default is `false`.",
        ),
        Key(
            "bypasses",
            _BOOLEAN,
            "true",
            "Whether bypasses (`pam-iampass-gateway bypass`) apply on these hosts.",
        ),
        Key(
            "covered_by",
            ValueType("a list of groups of hosts", value_types.service_name, example="[bastion]", many=True),
            (),
            "Groups of hosts, with `admit: true`. A login from a kept login of the same person there needs no approval "
            "here, and ends with that session (see fleet/bastion.md). Root of such a host can claim this for "
            "everybody who is logged in there.",
        ),
        Key(
            "covers_further",
            _BOOLEAN,
            "false",
            "Whether covered logins to these hosts cover further logins, to hosts with this group in `covered_by`.",
        ),
    ),
    "The groups of hosts. A host has the group of the invite with which it joined. Nobody can log in to hosts of a "
    "group that is not listed here.",
    named=True,
)

HELPDESK = Section(
    "helpdesk",
    (
        Key("people", replace(_PEOPLE, example="[desk]"), (), "The groups of the people who help."),
        Key(
            "helps",
            _PEOPLE,
            (),
            "The groups of the people whom they help. They can help only people all of whose groups are here. A group "
            "of `admin`, `auditor` or `helpdesk.people` cannot be here, so that they reach no operator.",
        ),
    ),
    "The help desk sees and changes what concerns the people whom it helps, such as a lost phone. It sees only hosts "
    "to which these people log in, or where they were denied.",
)

OPERATORS = Section(
    "operators",
    (
        Key(
            "admin",
            replace(_PEOPLE, example="[it]"),
            (),
            "The groups of the people who see everything, help all people as the help desk does, and admit, suspend "
            "and resume hosts.",
        ),
        Key(
            "auditor",
            replace(_PEOPLE, example="[sec]"),
            (),
            "The groups of the people who see people, hosts and records, and change nothing.",
        ),
        mapping(HELPDESK, "{people: [desk], helps: [staff]}"),
    ),
    "The groups of people who have a role in the portal. Without a role, only root of a gateway can do these things. A "
    "role needs a passkey that was registered through a link of root: a group is not enough.",
)

BACKUP = Section(
    "backup",
    (
        Key(
            "folder",
            replace(_PATH, example="/var/backups/iampass-gateway", nullable=True),
            None,
            "The folder, for dumps only, with mode 0700 of root. It must not be near the settings or the key, nor "
            "below `/home` or `/root`. `null`: no dumps are made.",
        ),
        _number("keep", 1000, "14", "How many dumps are kept. Older ones are deleted."),
    ),
    "Dumps of the database by `pam-iampass-gateway backup`. To make one each night, switch on the timer "
    "`pam-iampass-gateway-backup.timer` on one gateway.",
)

PORTAL = Section(
    "portal",
    (
        Key(
            "origin",
            ValueType(
                "an https address without a path",
                value_types.web_origin,
                example="https://iampass.example.com",
                nullable=True,
            ),
            None,
            "The address of the portal, exactly as browsers send it: in lower case, without a path and without the "
            "port 443. `http` is accepted for `localhost` only. Serve nothing else under this name, on any port, "
            "because browsers send the cookies there, too. After a change of the name everybody needs a new passkey. "
            "`null`: there is no portal.",
        ),
    ),
    "The portal, where people sign in with passkeys.",
)

_DN = ValueType(
    "a distinguished name", _distinguished_name, example='"ou=people,dc=example,dc=com"', nullable=True
)

_FILTER = ValueType("a filter of LDAP", _filter, example="(objectClass=inetOrgPerson)")

_ATTRIBUTE = ValueType("an attribute", _attribute, example="uid")

_OTHER_ATTRIBUTE = replace(_ATTRIBUTE, nullable=True)

DIRECTORY = Section(
    "directory",
    (
        Key(
            "url",
            ValueType(
                "an address of LDAP", _directory_url, example="ldaps://ldap.example.com", nullable=True
            ),
            None,
            "The server: `ldaps://HOST`, or `ldap://HOST` with `start_tls`. `null`: there is no directory.",
        ),
        Key(
            "start_tls",
            _BOOLEAN,
            "false",
            "Whether the connection to `ldap://` is encrypted first.",
        ),
        Key(
            "ca_file",
            _PATH,
            "/etc/ssl/certs/ca-certificates.crt",
            "The CA certificates (PEM) that the server's certificate must come from.",
        ),
        Key("bind_dn", _DN, None, "The entry as which the gateway reads; `null`: without a login."),
        _file(
            "password_file",
            "directory-password",
            "The file with the password of `bind_dn`; without `bind_dn` it can be empty. The timer runs only if "
            "`/etc/iampass-gateway/directory-password` exists.",
        ),
        Key("base", _DN, None, "The entry below which the people are."),
        Key("filter", _FILTER, "(objectClass=inetOrgPerson)", "Which entries below `base` are people."),
        Key(
            "name",
            _ATTRIBUTE,
            "uid",
            "The attribute with the name of the person's account on the hosts. It must have one value, and people must "
            "not be able to change their own. Otherwise a person could take the name of somebody who joins later, and "
            "be asked for that account.",
        ),
        Key(
            "lower_case",
            _BOOLEAN,
            "false",
            "Whether names are turned to lower case, as sssd does with Active Directory.",
        ),
        Key(
            "id",
            _ATTRIBUTE,
            "entryUUID",
            "The attribute that differs between people who had the same name one after the other (Active Directory: "
            "`objectGUID`). Another id means another person, who must register a phone first.",
        ),
        Key(
            "display_name", _OTHER_ATTRIBUTE, "cn", "The attribute with the name that the IAMPASS app shows."
        ),
        Key(
            "phone_number",
            _OTHER_ATTRIBUTE,
            "mobile",
            "The attribute with the number for messages, with `+` and country code. Anyone who can change it can get "
            "the registration link of a person without a phone. So people must not be able to change it with their "
            "first factor alone.",
        ),
        Key(
            "groups_base",
            _DN,
            None,
            "The entry below which the groups are. Groups elsewhere have no effect; `null`: people have no groups. The "
            "name of a group is the first part of its DN: `cn=staff,ou=groups,…` is `staff`.",
        ),
        Key(
            "groups_attribute",
            _OTHER_ATTRIBUTE,
            "memberOf",
            "The attribute of a person with the DNs of the groups; `null`: groups are searched.",
        ),
        Key(
            "groups_filter",
            _FILTER,
            "(objectClass=groupOfNames)",
            "Which entries below `groups_base` are groups.",
        ),
        Key(
            "groups_member",
            _ATTRIBUTE,
            "member",
            "The attribute of a group with the DNs or the names (`memberUid`) of its members.",
        ),
        _duration(
            "grace",
            0,
            999 * 86400,
            "30d",
            "A person who has left the directory is removed at IAMPASS, with the phone, after this time. Logins are "
            "denied at once.",
        ),
        Key(
            "invite",
            ValueType("never, first_login or at_once", value_types.choice(Invite), example="at_once"),
            "never",
            "When people with a phone number are sent a registration link: `at_once`, when they join; `first_login`, "
            "when they log in without a phone. `first_login` sends one link per person an hour, ten per host an hour, "
            "and none after `phone lost`.",
        ),
    ),
    "People from a directory (LDAP), by `pam-iampass-gateway user sync`, which a timer runs each hour "
    "(`pam-iampass-gateway-sync.timer`). It leaves alone people who were added by hand.",
)

SCHEMA: tuple[KeyOrSection, ...] = (
    Key(
        "names",
        ValueType("a list of host names", _host_name, example="[gateway.example.com]", many=True),
        REQUIRED,
        "The names and addresses by which hosts call this gateway, as in its certificate.",
    ),
    Key(
        "gateways",
        GATEWAYS,
        (),
        "The addresses of all gateways, if there are several: the same list on each. `pam-iampass join` writes it on a "
        "host, in an order of its own that spreads the hosts. After a change, run `pam-iampass join --update` there. "
        "An empty list: hosts use the address at which they joined.",
    ),
    Key(
        "listen",
        ValueType("an address with a port", value_types.listen_address, example="0.0.0.0:8443"),
        "0.0.0.0:8443",
        "Where the gateway accepts connections of hosts.",
    ),
    Key(
        "monitoring",
        ValueType(
            "an address with a port", value_types.listen_address, example="127.0.0.1:8444", nullable=True
        ),
        "127.0.0.1:8444",
        "Where `/metrics` (Prometheus), `/healthz` and `/readyz` are, with plain http for everybody who can connect. "
        "They name no host and no person. `null`: nowhere.",
    ),
    Key(
        "database",
        ValueType("a connection string of libpq", _conninfo, example="dbname=iampass"),
        "dbname=iampass",
        "The connection string of the database (libpq). Without a host, it is on this machine, where "
        "`_iampass-gateway` needs no password.",
    ),
    APPLICATION_ID,
    _file("application_secret_file", "application-secret", "The file with the application's secret."),
    SERVER,
    Key(
        "server_ca_file",
        replace(_PATH, nullable=True),
        None,
        "The CA certificates (PEM) that IAMPASS's certificate must come from; `null`: those of the system.",
    ),
    proxy_key("IAMPASS"),
    _file("key_file", "key", "The key that encrypts the database and authenticates its rows."),
    _file("ca_file", "ca.pem", "The certificate of the fleet's own CA, which hosts trust."),
    _file("certificate_file", "certificate.pem", "The gateway's certificate, from that CA."),
    _file("certificate_key_file", "certificate-key.pem", "The private key of that certificate."),
    Key(
        "self_service",
        _PEOPLE,
        (),
        "The groups of people who can make themselves one recovery code for 12 hours, once a week, after they have "
        "reported their phone lost in the portal. With such a code, a key and a passkey on the same laptop are enough "
        "to log in.",
    ),
    GROUPS,
    Section(
        "limits",
        (
            *(each for each in THROTTLE if each.name != "logins_at_once"),
            _number(
                "logins_at_once",
                1000,
                "10",
                "How many logins of one person from one origin may wait for their turn. All logins on another host "
                "count as one.",
            ),
            _number("connections", 200, "20", "Connections to the database."),
            _number(
                "calls_at_once",
                1000,
                "200",
                "How many starts at IAMPASS at the same time, and as many ends of sessions. One host can have half of "
                "them.",
            ),
            _number(
                "host_requests_per_hour",
                10_000,
                "100",
                "How many requests of one host may stay without an approval within an hour, unless more people approve "
                "than do not. Beyond that, only people who have approved there within 30 days, or had a login there "
                "covered, are asked. The gateway alerts at a quarter of it.",
            ),
            _number(
                "wrong_codes_per_hour",
                20,
                "5",
                "How many wrong recovery codes for one person from one host and address within an hour. A host can "
                "send 20 for one person, and 100 for all.",
            ),
        ),
        "Limits for all hosts together. An origin is a PAM service and the address from which the login comes; without "
        "an address, the host.",
    ),
    Section(
        "agents",
        (
            _number(
                "requests_per_hour",
                1000,
                "10",
                "How many requests of all accounts that act for one person may remain without an approval within an "
                "hour, on all hosts together. One host can use two thirds of these. The person's own limit, "
                "`limits.requests_per_hour`, is apart.",
            ),
        ),
        "Accounts that act for a person (`user add --acts-for`), such as those of AI agents: see "
        "fleet/fleet-people.md.",
    ),
    Section(
        "records",
        (
            _duration(
                "keep",
                30 * 86400,
                999_999 * 86400,
                "365d",
                "How long records stay in the database. At least 30 days, because limits use them.",
            ),
        ),
        "The records of decisions and of acts of administrators.",
    ),
    BACKUP,
    DIRECTORY,
    PORTAL,
    OPERATORS,
)
"""The keys of the file."""


def template(values: Mapping[str, Any]) -> str:
    """A settings file with these values, in which all other keys stand as comments, each with what it means."""
    lines = ["# Settings of the gateway. All of a fleet's gateways have the same ones."]
    lines += ["# After each change: systemctl restart pam-iampass-gateway", ""]
    for entry in SCHEMA:
        lines += _wrapped(entry.description, "# ")
        if isinstance(entry, Key):
            given = entry.name in values
            value = json.dumps(values[entry.name]) if given else entry.written_default()
            lines.append(f"{'' if given else '# '}{entry.name}: {value}")
        else:
            if entry.name in values:
                lines += [
                    f"{entry.name}:",
                    *(f"  {name}: {_flow(own)}" for name, own in values[entry.name].items()),
                ]
            lines.append(f"# {entry.name}:")
            if entry.named:
                lines.append("#   default:")
            indent = "#     " if entry.named else "#   "
            for key in entry.keys:
                lines += [
                    *_wrapped(key.description, f"{indent}# "),
                    f"{indent}{key.name}: {key.written_default()}",
                ]
        lines.append("")
    return "\n".join(lines)


def _flow(values: Mapping[str, Any]) -> str:
    return f"{{{', '.join(f'{name}: {json.dumps(value)}' for name, value in values.items())}}}"


def _wrapped(text: str, prefix: str) -> list[str]:
    return textwrap.wrap(text, 118, initial_indent=prefix, subsequent_indent=prefix, break_on_hyphens=False)
