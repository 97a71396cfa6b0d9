"""Whether sshd spares exempt users its prompt, as the settings have it."""

from __future__ import annotations

import contextlib
import grp
import pwd
from collections.abc import Iterable, Iterator
from pathlib import Path

from pam_iampass.config.settings import ExemptSettings, Settings
from pam_iampass.config.sshd_exceptions import criteria_in, exceptions
from pam_iampass.system import sshd
from pam_iampass.system.programs import CommandUnavailable
from pam_iampass.system.sshd import Connection, SshdSettings

DROP_IN = Path("/etc/ssh/sshd_config.d/10-iampass.conf")
KEY = "exempt"
"""The setting that `check` names for a drop-in that is outdated."""
SET_UP = "pam-iampass setup sshd"

_PROMPT = "keyboard-interactive"
_MOST = 20
"""Calls of `sshd -T`."""


def exempt_users(exempt: ExemptSettings) -> list[str]:
    """The users of this machine whom `exempt` names or who are in one of its groups, as far as NSS lists them."""
    found = dict.fromkeys(sorted(exempt.users))
    for name in sorted(exempt.groups):
        with contextlib.suppress(KeyError, ValueError):
            group = grp.getgrnam(name)
            found |= dict.fromkeys(group.gr_mem)
            found |= {user.pw_name: None for user in pwd.getpwall() if user.pw_gid == group.gr_gid}
    return [name for name in found if _exists(name)]


def prompted(users: Iterable[str], *, address: str = "127.0.0.1", file: Path | None = None) -> dict[str, str]:
    """Of some users, those whom sshd admits by no way without a prompt, with their AuthenticationMethods.

    Only the first few are checked. Raises SshdConfigRejected.
    """
    found = {}
    for name in list(users)[:_MOST]:
        with contextlib.suppress(CommandUnavailable):  # a name that sshd -T does not take
            settings = sshd.settings(
                Connection(name, address),
                options=[] if file is None else ["-f", str(file)],
                create_folder=file is not None,
            )
            if not is_spared(settings) and not (name == "root" and settings.root_login == "no"):
                found[name] = settings.values.get("authenticationmethods", "any")
    return found


def is_spared(settings: SshdSettings) -> bool:
    """Whether sshd admits the user by some methods without a prompt."""
    return any(_PROMPT not in methods for methods in settings.method_lists)


def outdated(settings: Settings, file: Path = DROP_IN) -> str | None:
    """How our drop-in differs from the settings; None if it does not, or if it belongs to the quiet way.

    Raises OSError.
    """
    try:
        text = file.read_text("utf-8", "replace")
    except FileNotFoundError:
        return None
    values = sshd.keywords(text)
    if _PROMPT not in values.get("authenticationmethods", ""):
        return None
    wanted = exceptions(settings.for_service(values.get("pamservicename", "sshd"))).criteria
    return "; ".join(_differences(criteria_in(text), wanted)) or None


def _differences(found: tuple[str, ...], wanted: tuple[str, ...]) -> Iterator[str]:
    for each in wanted:
        if each not in found:
            yield f"has no `Match {each}`"
    for each in found:
        if each not in wanted:
            yield f"has `Match {each}`, which the settings do not say"


def _exists(name: str) -> bool:
    try:
        return pwd.getpwnam(name).pw_name == name
    except (KeyError, ValueError):
        return False
