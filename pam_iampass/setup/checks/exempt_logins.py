"""Whether sshd will spare exempt users its prompt."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from pam_iampass.doctor import sshd_exempt
from pam_iampass.errors import Problem
from pam_iampass.setup.checks import fine, warning
from pam_iampass.setup.services import WantedService
from pam_iampass.system.sshd import SshdConfigRejected
from pam_iampass.text import names


def spared_logins(service: WantedService, configuration: Path) -> Iterator[Problem]:
    """What sshd says for each of them with a configuration (sshd -T -C)."""
    if service.exceptions.left_out:
        what = f"sshd: sshd_config cannot name {names(service.exceptions.left_out)}: they have to answer the prompt"
        yield warning(what, "exempt them by a group, or use --quiet")
    users = sshd_exempt.exempt_users(service.exempt) if service.exceptions.criteria else []
    try:
        prompted = sshd_exempt.prompted(users, file=configuration)
    except SshdConfigRejected:  # reported already
        return
    for name, methods in prompted.items():
        if name not in service.exceptions.left_out:
            what = f"sshd: {name} is exempt, but another Match block sets `AuthenticationMethods {methods}` for {name}"
            yield warning(what, "check the Match blocks of /etc/ssh/sshd_config and what it includes")
    spared = [name for name in users if name not in prompted]
    if spared:
        yield fine(f"sshd -T -C: without a prompt, as exempt users: {names(spared)}")
