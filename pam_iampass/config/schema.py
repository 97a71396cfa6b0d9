"""What may stand in `iampass.yaml`: one table for the reading, the errors and the page `docs/settings.md`."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Union

from pam_iampass.config import value_types as kinds
from pam_iampass.config.node_reader import Kind
from pam_iampass.config.value_types import Approver, AskForCode, Prompt, Unavailable

REQUIRED = object()
"""The default of a key that has none."""


@dataclass(frozen=True)
class Key:
    """One key of the file."""

    name: str
    kind: Kind
    default: Any
    """Written as in the file: a text, None for null, () for an empty list; REQUIRED where there is none."""
    doc: str

    @property
    def required(self) -> bool:
        return self.default is REQUIRED

    def default_value(self) -> Any:
        return self.kind.read(self.default) if isinstance(self.default, str) else self.default


@dataclass(frozen=True)
class Section:
    """A key with further keys below it."""

    name: str
    keys: tuple[Key, ...]
    doc: str
    named: bool = False
    """Whether names that the administrator chooses stand between it and its keys."""


Entry = Union[Key, Section]

_ACCOUNTS = "a list of names"
_SECONDS = "a duration of whole seconds or minutes"
_DURATION = Kind(_SECONDS, kinds.duration(1, kinds.LONGEST_TIMEOUT), "60s")
_METHODS = Kind("a list of acceptance, device and facial", kinds.method, "[acceptance, facial]", many=True)
_PROMPT = Kind("auto, always or never", kinds.choice(Prompt), "auto")
_UNLISTED = Kind("deny, ignore or a template", kinds.unlisted, '"{user}@example.com"')
_UNAVAILABLE = Kind("deny or ignore", kinds.choice(Unavailable), "deny")
_PATH = Kind("an absolute path", kinds.absolute_path, "/etc/iampass/users.yaml")

FOR_SERVICES = (
    Key(
        "unlisted_users",
        _UNLISTED,
        "deny",
        "What happens to a user who is in no table: `deny`; `ignore`, to go on without a second factor; or a "
        'template such as `"{user}@example.com"` that makes the token of the user name.',
    ),
    Key(
        "unavailable",
        _UNAVAILABLE,
        "deny",
        "What happens when IAMPASS is out of reach before the request was started: `deny`, or `ignore` to go "
        "on without a second factor.",
    ),
    Key(
        "timeout", _DURATION, "60s", f"How long a person has to approve, from 1s to {kinds.LONGEST_TIMEOUT}s."
    ),
    Key("methods", _METHODS, (), "How the person may approve; an empty list leaves the choice to IAMPASS."),
    Key(
        "prompt",
        _PROMPT,
        "auto",
        "When to ask for Enter before the request goes out: `auto`, where the application would hide our "
        "text otherwise (sshd); `always`; `never`.",
    ),
    Key(
        "enroll_at_login",
        Kind("true or false", kinds.truth, "true"),
        "false",
        "Whether a user of the table who has no phone yet is shown the link to register one at login, and is then to "
        "log in again. Only where `first_factor=publickey` stands on the PAM line: whoever gets as far as that link "
        "can register a phone of theirs, and behind a password alone that would make one factor of two.",
    ),
)

APPROVER = Key(
    "approver",
    Kind("user or ruser", kinds.choice(Approver), "ruser"),
    "user",
    "Whose phone is asked: `user`, who logs in, or `ruser`, who calls (for su).",
)

SCHEMA: tuple[Entry, ...] = (
    Key(
        "application_id",
        Kind("the id of your application", kinds.application_id, "my-application"),
        REQUIRED,
        "The id of your application at IAMPASS.",
    ),
    Key(
        "application_secret_file",
        replace(_PATH, example="/etc/iampass/application-secret"),
        "/etc/iampass/application-secret",
        "The file that holds the application's secret and nothing else; only root and the group `iampass` "
        "may read it.",
    ),
    Key(
        "server",
        Kind("an https address without a path", kinds.server, "https://iam-api.com"),
        "https://iam-api.com",
        "The IAMPASS server.",
    ),
    Key(
        "ca_file",
        replace(_PATH, example="/etc/iampass/ca.pem", nullable=True),
        None,
        "A file of certificates (PEM) to trust for the server; `null`: those of the system.",
    ),
    Key(
        "proxy",
        Kind("an http address with a port", kinds.proxy, "http://proxy.example.com:3128", nullable=True),
        None,
        "The proxy to reach the server through; proxy variables of the environment are never obeyed.",
    ),
    Key(
        "users",
        _PATH,
        "/etc/iampass/users.yaml",
        "The table of users; the folder `users.d` next to it is read first, one user a file.",
    ),
    *FOR_SERVICES,
    Section(
        "exempt",
        (
            Key("users", Kind(_ACCOUNTS, kinds.account_name, "[backup]", many=True), (), "Users by name."),
            Key(
                "groups",
                Kind(_ACCOUNTS, kinds.account_name, "[operators]", many=True),
                (),
                "Members of these groups, primary or supplementary.",
            ),
            Key(
                "networks",
                Kind("a list of networks", kinds.network, "[192.0.2.0/24]", many=True),
                (),
                "Logins from an address in one of these networks; a host name is in none.",
            ),
        ),
        "Logins that need no second factor.",
    ),
    Section(
        "throttle",
        (
            Key(
                "cool_off",
                Kind(_SECONDS, kinds.duration(0, kinds.LONGEST_COOL_OFF), "30s"),
                "30s",
                "After a second request in a row from the same place that was refused, not answered or broken off "
                "(who logs in hung up, or began anew): how long no further one goes out from there. It doubles with "
                "each; an approval from there ends it, and so does an hour of peace. "
                f"From 0s (none) to {kinds.LONGEST_COOL_OFF}s.",
            ),
            Key(
                "longest_cool_off",
                Kind(_SECONDS, kinds.duration(0, kinds.LONGEST_COOL_OFF), "15m"),
                "15m",
                "To what it grows at most.",
            ),
            Key(
                "requests_per_hour",
                Kind("a number from 1 to 1000", kinds.number(1, 1000), "30"),
                "30",
                "How many requests that were not approved one person's phone may get within an hour, from all "
                "places together.",
            ),
            Key(
                "logins_at_once",
                Kind("a number from 1 to 1000", kinds.number(1, 1000), "10"),
                "10",
                "How many logins of one person from one place the agent serves at once, those at the prompt "
                "included; only one of them has a request on the phone.",
            ),
        ),
        "What keeps others from ringing a person's phone again and again. A place is a PAM service and a remote "
        "host.",
    ),
    Section(
        "recovery",
        (
            Key(
                "ask",
                Kind("never, unavailable or unanswered", kinds.choice(AskForCode), "unanswered"),
                "unanswered",
                "Where there is no prompt to type a recovery code at (sudo, su, login): when a person who has codes "
                "is asked for one. `unavailable`: when no request could go out; `unanswered`: also when the phone "
                "did not answer; `never`.",
            ),
            Key(
                "attempts_per_hour",
                Kind("a number from 1 to 100", kinds.number(1, 100), "5"),
                "5",
                "How many wrong recovery codes a person may type within an hour from one place.",
            ),
        ),
        "Codes for when the phone cannot be used: `pam-iampass recovery new USER`.",
    ),
    Section(
        "services",
        (*FOR_SERVICES, APPROVER),
        "Other settings for single PAM services, by the name of their file in `/etc/pam.d`.",
        named=True,
    ),
)
