"""PAM services: which of them a program uses, which must not ask the phone, and why."""

from __future__ import annotations

import re
from dataclasses import dataclass
from difflib import get_close_matches

from pam_iampass.errors import Problem, Severity, shown
from pam_iampass.pam.modules import our_lines
from pam_iampass.pam.stack import PamFiles, PamService, PamType, UnusableService

USES = {"su": ("su", "su-l"), "sudo": ("sudo", "sudo-i"), "login": ("login", "remote")}
"""The PAM services of a program that uses several. The first one must exist."""

_NAME = re.compile(r"[a-z0-9][a-z0-9_.+-]*")


@dataclass(frozen=True)
class Unsuitable:
    """Some PAM services, and why they must not ask the phone."""

    names: re.Pattern[str]
    reason: str
    remedy: str


def _of(names: str, reason: str, remedy: str) -> Unsuitable:
    return Unsuitable(re.compile("|".join(f"(?:{name})" for name in names.split())), reason, remedy)


UNPRIVILEGED = _of(
    "i3lock swaylock hyprlock gtklock waylock xlock vlock kde(-.*)? (x|(mate|cinnamon|xfce4|gnome)-)screensaver"
    " postgresql httpd nginx squid radiusd mosquitto",
    "its program does not ask as root, so that the module denies every login",
    "leave it as it is",
)
"""Screen lockers, and servers with a user of their own. xscreensaver is set-uid root, and gives that up first."""

_UNSUITABLE = (
    UNPRIVILEGED,
    _of("pkexec run0", "it uses the PAM service polkit-1", "pam-iampass setup polkit-1"),
    _of("su-l su-rs", "it is set up together with su", "pam-iampass setup su"),
    _of("sudo-i sudo-rs", "it is set up together with sudo", "pam-iampass setup sudo"),
    _of("ssh openssh", "it belongs to sshd", "pam-iampass setup sshd"),
    _of(
        "common-.* system-.* password-auth.* postlogin.* (fingerprint|smartcard)-auth.*",
        "other PAM files include it, also those of jobs that no person starts",
        "name the services that are to ask the phone",
    ),
    _of(
        "other",
        "Linux-PAM uses it for every service without a file",
        "name the services that are to ask the phone",
    ),
    _of(
        "cron crond atd anacron",
        "its jobs run when there is no person to approve them",
        "protect the login that creates the jobs: pam-iampass setup sshd su",
    ),
    _of(
        "systemd-user systemd-run0 runuser(-l)? .*-(greeter|autologin) gdm-launch-environment samba ppp",
        "it opens sessions for which no password is asked",
        "leave it as it is",
    ),
    _of(
        "passwd chpasswd newusers chfn chsh chage (user|group)(add|del|mod|mems)",
        "it changes accounts, and is no login",
        "protect the logins: pam-iampass setup sshd sudo su",
    ),
)


def why_unsuitable(name: str) -> Unsuitable | None:
    """Why the PAM service `name` must not ask the phone; None if setup knows no reason."""
    if not _NAME.fullmatch(name):
        return Unsuitable(_NAME, "this is not a name of a PAM service", "name a file in /etc/pam.d")
    return next((each for each in _UNSUITABLE if each.names.fullmatch(name)), None)


def not_asking(name: str, files: PamFiles) -> Problem | None:
    """Why settings for the PAM service `name` hold for no login that asks the phone; None if they do.

    An error if the name leads to nothing, a warning if the service is not switched on yet. It names no file.
    """
    program = next((program for program, uses in USES.items() if name in uses), name)
    unsuitable = why_unsuitable(program) if _NAME.fullmatch(name) else None
    what = f"{shown(name)} is no PAM service of this machine: there is no such file in /etc/pam.d"
    if name in files.names():
        try:
            if _asks(files.service(name)):
                return None
        except (OSError, UnusableService):  # which check reports
            return None
        if unsuitable is None:
            what, remedy = f"{shown(name)} does not ask the phone yet", f"pam-iampass setup {program}"
            return Problem(None, None, "", what, remedy, Severity.WARNING, "service-off")
        what = f"{shown(name)} does not ask the phone"
    if unsuitable is not None:
        return Problem(None, None, "", f"{what}: {unsuitable.reason}", unsuitable.remedy)
    asking = [service.name for service in files.usable() if _asks(service)]
    others = [other for other in files.names() if why_unsuitable(other) is None]
    near = get_close_matches(name, asking, 1, 0.5) or get_close_matches(name, others, 1)
    remedy = (
        f"did you mean {near[0]}?" if near else "correct the name, or remove it: ls /etc/pam.d /usr/lib/pam.d"
    )
    return Problem(None, None, "", what, remedy)


def _asks(service: PamService) -> bool:
    return bool(our_lines(service) or our_lines(service, PamType.ACCOUNT))
