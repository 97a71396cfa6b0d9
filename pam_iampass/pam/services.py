"""PAM services: which of them a program uses, which must not ask the phone, and why."""

from __future__ import annotations

import re
from dataclasses import dataclass

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
"""What locks a screen, and servers with a user of their own. xscreensaver is set-uid root, and gives that up first."""

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
