"""Names of people, hosts and other things of a fleet: which ones are possible."""

from __future__ import annotations

import re
import uuid

from pam_iampass.config.value_types import address_of_machine, name_error, token_error

_LABEL = "[a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9_])?"
_LONGEST_LABEL = 60


def person_name_error(name: str) -> str | None:
    """Why this cannot be the name of a person, as the end of a sentence. Hosts name people in the URL of a request."""
    return name_error(name) or token_error(name)


def host_name_error(name: str) -> str | None:
    """Why this cannot be the name of a host, as the end of a sentence. It is a host name in lower case."""
    if len(name) <= 253 and re.fullmatch(rf"{_LABEL}(\.{_LABEL})*", name):
        return None
    return "is not a host name in lower case, such as web1.example.com"


def host_address_error(text: str) -> str | None:
    """Why this cannot be an address of one host alone, as the end of a sentence."""
    if address_of_machine(text) is None or "%" in text:
        return "is not an address that only one machine has, such as 192.0.2.8 or 2001:db8::8"
    return None


def label_error(label: str) -> str | None:
    """Why a passkey cannot have this label, as the end of a sentence."""
    if not label.strip() or len(label) > _LONGEST_LABEL:
        return f"must have 1 to {_LONGEST_LABEL} characters"
    return None if label.isprintable() else "has a character that cannot be shown"


def id_error(id: str) -> str | None:
    """Why this is no id of a session, a request or a sign-in, as the end of a sentence."""
    try:
        return None if str(uuid.UUID(id)) == id else "is not in the form of an id"
    except ValueError:
        return "is no id"
