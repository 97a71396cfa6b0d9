"""The keys of `session:` in `iampass.yaml`."""

from __future__ import annotations

from dataclasses import replace

from pam_iampass.config import value_types
from pam_iampass.config.node_reader import ValueType
from pam_iampass.config.schema_keys import Key, Section, mapping
from pam_iampass.config.value_types import Enforcement

_LONG = "a duration of whole seconds, minutes or hours"
_LONGEST_SESSION = ValueType(_LONG, value_types.duration(60, value_types.LONGEST_SESSION), "12h")
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
            ValueType(_LONG, value_types.duration(2, 900), "30s"),
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
            "Whether further ssh logins of the same user from the same address, and with the same key where sshd "
            "reports it, need no approval while a kept login lasts. An address can be shared: see sessions.md.",
        ),
    ),
    "Sessions that last as long as the login. A service takes over the general values of the keys that it does not "
    "set.",
    merged=True,
)
