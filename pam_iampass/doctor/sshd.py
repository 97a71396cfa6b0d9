"""What is wrong with sshd's side of a login: facts that each cost somebody an evening."""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from pam_iampass.config.settings import Settings
from pam_iampass.config.value_types import Prompt
from pam_iampass.doctor.catalogue import KINDS
from pam_iampass.doctor.finding import Finding, Severity, names
from pam_iampass.doctor.sshd_settings import ForUser, Refused, Sshd
from pam_iampass.doctor.stack_examination import StackExamination
from pam_iampass.doctor.stacks import Stacks

_KEYBOARD, _PASSWORD, _KEY = "keyboard-interactive", "password", "publickey"
_SPARE = 30  # seconds for connecting, key, password and prompt
_SHOWS_TEXT = (10, 3)
_HOW = {_KEY: "A key alone", "hostbased": "A host's key alone", "gssapi-with-mic": "A Kerberos ticket alone"}
_CONFIGURATION = (Path("/etc/ssh/sshd_config"), Path("/etc/ssh/sshd_config.d"))
_PID_FILES = (Path("/run/sshd.pid"), Path("/var/run/sshd.pid"))


@dataclass(frozen=True)
class SshdExamination:
    """sshd, the users whose logins are looked at, and the stacks that they come to."""

    sshd: Sshd
    users: Sequence[str]
    stacks: Stacks
    settings: Settings | None
    with_token: frozenset[str] = frozenset()
    """The users whose phone would be asked."""

    def findings(self) -> Iterator[Finding]:
        """Everything that is wrong. Raises NotSeen."""
        try:
            found = {user: self.sshd.for_user(user) for user in self.users}
        except Refused as refused:
            kind = "sshd-no-prompt" if f'"{_KEYBOARD}"' in str(refused) else "sshd-broken"
            yield Finding.of(KINDS[kind], "sshd", f"sshd -T: {refused}", names="everybody")
            return
        services = dict.fromkeys(settings.service for settings in found.values())
        for service in services:
            users = {user: settings for user, settings in found.items() if settings.service == service}
            if self.stacks.files.path(service) is None:
                yield Finding.of(
                    KINDS["service-file-missing"],
                    "sshd",
                    f"sshd -T: pamservicename {service}",
                    name=service,
                    setting="PAMServiceName",
                )
            elif not self.stacks.asks(service):
                where = f"{self.stacks.files.path(service)} does not name pam_iampass"
                yield Finding.of(KINDS["sshd-unprotected"], "sshd", where)
            else:
                yield from self._of_service(self.stacks.with_us[service], users)
        yield from _stale()

    def _of_service(self, stack: StackExamination, users: dict[str, ForUser]) -> Iterator[Finding]:
        grouped: dict[tuple[str, str, str], list[str]] = defaultdict(list)
        for user, settings in users.items():
            if user == "root" and settings.root == "no":
                continue
            faults = list(self._faults(stack, user, settings))
            around = any(kind == "sshd-key-bypasses" for kind, _evidence, _how in faults)
            for kind, evidence, how in faults:
                if around and kind == "sshd-key-not-demanded":
                    continue  # the same line mends both
                grouped[kind, evidence, how].append(user)
        for (kind, evidence, how), whom in grouped.items():
            # Where root has no token nobody means root to come this way.
            mild = kind == "sshd-root-refused" and "root" not in self.with_token
            yield Finding.of(
                KINDS[kind],
                "sshd",
                evidence,
                Severity.NOTE if mild else None,
                how=how,
                names=names(whom),
                place=stack.ours.place,
            )
        yield from self._grace(stack, next(iter(users.values())))
        yield from self._text(stack)
        if self.settings and self.settings.for_service(stack.service).enroll_at_login and not stack.wants_key:
            place = f"{stack.ours.place}: {stack.ours.text}"
            yield Finding.of(KINDS["sshd-no-enrolment"], "sshd", place, place=stack.ours.place)

    def _faults(
        self, stack: StackExamination, user: str, settings: ForUser
    ) -> Iterator[tuple[str, str, str]]:
        """The kind of each fault, the evidence, and how somebody gets in."""
        if not settings.is_on("usepam"):
            yield "sshd-pam-off", "sshd -T: usepam no", ""
            return
        said = f"sshd -T: authenticationmethods {settings.values.get('authenticationmethods', 'any')}"
        for way in settings.ways:
            if _KEYBOARD not in way and _PASSWORD not in way:
                if set(way) <= set(settings.offered):
                    yield "sshd-key-bypasses", said, _HOW.get(way[0], f"{way[0]} alone")
                continue
            if _KEYBOARD in way and not settings.is_on("kbdinteractiveauthentication"):
                yield "sshd-no-prompt", "sshd -T: kbdinteractiveauthentication no", ""
                continue
            yield from self._asking(stack, way, said)
        asks_at_all = any(_KEYBOARD in way or _PASSWORD in way for way in settings.ways)
        if user == "root" and settings.root in ("prohibit-password", "forced-commands-only") and asks_at_all:
            yield "sshd-root-refused", f"sshd -T: permitrootlogin {settings.root}", ""

    def _asking(self, stack: StackExamination, way: list[str], said: str) -> Iterator[tuple[str, str, str]]:
        """The faults of a way in that comes to the stack."""
        asking = way.index(_KEYBOARD) if _KEYBOARD in way else way.index(_PASSWORD)
        key_first = _KEY in way[:asking]
        if _KEYBOARD not in way:
            yield "sshd-password-method", said, ""
        if stack.wants_key:
            if not key_first:
                yield "sshd-key-not-demanded", said, ""
        elif stack.phone_alone:
            yield ("sshd-key-not-insisted" if key_first else "sshd-phone-only"), said, ""

    def _grace(self, stack: StackExamination, settings: ForUser) -> Iterator[Finding]:
        if self.settings is None or not settings.grace:
            return
        timeout = round(self.settings.for_service(stack.service).timeout)
        if settings.grace < timeout + _SPARE:
            yield Finding.of(
                KINDS["sshd-grace-short"],
                "sshd",
                f"sshd -T: logingracetime {settings.grace}; timeout: {timeout}s for {stack.service}",
                Severity.ERROR if settings.grace <= timeout else None,
                grace=settings.grace,
                timeout=timeout,
                enough=timeout + _SPARE,
            )

    def _text(self, stack: StackExamination) -> Iterator[Finding]:
        if self.settings is None or self.sshd.version is None or self.sshd.version >= _SHOWS_TEXT:
            return
        if self.settings.for_service(stack.service).prompt is Prompt.NEVER:
            version = ".".join(map(str, self.sshd.version))
            yield Finding.of(KINDS["sshd-text-hidden"], "sshd", f"OpenSSH {version}; prompt: never")


def _stale() -> Iterator[Finding]:
    """Whether the sshd that listens is older than its configuration."""
    started = next((moment for moment in map(_started, _PID_FILES) if moment is not None), None)
    if started is None:
        return
    folder = _CONFIGURATION[1]
    files = [_CONFIGURATION[0], *(folder.glob("*.conf") if folder.is_dir() else ())]
    for file in files:
        if file.exists() and file.stat().st_mtime > started + 1:
            yield Finding.of(KINDS["sshd-stale"], "sshd", f"{file} was written after sshd had started")
            return


def _started(pid_file: Path) -> float | None:
    """When the process of a pid file started or was last told to read its configuration anew, as Unix time."""
    try:
        pid = int(pid_file.read_text("ascii"))
        # sshd starts itself anew on SIGHUP, and writes its pid file again.
        return max(os.stat(f"/proc/{pid}").st_mtime, pid_file.stat().st_mtime)
    except (OSError, ValueError):
        return None
