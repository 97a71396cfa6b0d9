"""Calls IAMPASS, without changing anything or ringing a phone: which users have a device."""

from __future__ import annotations

import os
import secrets
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

from pam_iampass.client import (
    Deadline,
    Declined,
    IampassError,
    LocalFailure,
    ManagementAPI,
    ManagementAPIResult,
    Refused,
    TLSFailure,
    Unavailable,
)
from pam_iampass.config.settings import Settings
from pam_iampass.doctor.catalogue import finding
from pam_iampass.doctor.finding import Finding, names
from pam_iampass.login.api import connect

_SECONDS = 15.0
"""For the first call, and for all others together."""
_CLOCK_TOLERANCE = 10.0
_PROXIES = ("https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY", "http_proxy", "HTTP_PROXY")


class ServiceCheck:
    """Calls the service that the settings name."""

    def __init__(
        self, settings: Settings, progress: Callable[[str], None], environment: Mapping[str, str] = os.environ
    ) -> None:
        self._settings = settings
        self._progress = progress
        self._environment = environment
        self.has_device: dict[str, bool] = {}
        """Whether each user has a device, as far as IAMPASS was asked."""
        self.unasked: list[str] = []
        """Users about whom IAMPASS was not asked, or did not answer."""

    def findings(self, tokens: Mapping[str, str]) -> Iterator[Finding]:
        """Everything that is wrong. `tokens` are those of the users whose devices are checked."""
        try:
            client = connect(ManagementAPI, self._settings)
        except IampassError as error:
            yield self._of("service-tls", error)
            return
        try:
            yield from self._call(client, tokens)
        finally:
            client.close()

    def _call(self, client: ManagementAPI, tokens: Mapping[str, str]) -> Iterator[Finding]:
        self._progress(f"calling {self._settings.server}")
        problem: IampassError | None = None
        try:
            check_signature(client)
        except IampassError as error:
            problem = error
        offset = client.transport.clock_offset
        if offset is not None and abs(offset) > _CLOCK_TOLERANCE:
            yield self._off(offset)
        if problem is not None:
            yield from self._failure(problem)
            return
        unknown: list[str] = []
        deadline = Deadline.after(_SECONDS)
        for number, (user, token) in enumerate(tokens.items(), 1):
            self._progress(f"checking phones: {number} of {len(tokens)}")
            if deadline.expired:
                self.unasked = list(tokens)[number - 1 :]
                break
            try:
                found = client.has_registered_mobile_device(token, deadline=deadline)
                self.has_device[user] = found is ManagementAPIResult.has_mobile_device
            except Declined:
                unknown.append(user)
            except Unavailable:
                self.unasked.append(user)
            except IampassError as error:
                yield from self._failure(error)
                return
        without = [user for user, device in self.has_device.items() if not device]
        if without:
            evidence = f"device_registered is false for {len(without)} of {len(tokens)} users"
            yield finding("no-device", "users", evidence, names=names(without))
        if unknown:
            evidence = f"{self._settings.server} declined has_registered_mobile_device"
            yield finding("not-at-iampass", "users", evidence, names=names(unknown))

    def _failure(self, error: IampassError) -> Iterator[Finding]:
        if isinstance(error, Refused):
            file = (
                self._settings.files[1] if len(self._settings.files) > 1 else Path("application_secret_file")
            )
            yield finding("service-refused", "service", str(error), secret_file=file)
            return
        kinds = (
            (Unavailable, "service-unreachable"),
            (TLSFailure, "service-tls"),
            (LocalFailure, "service-local"),
        )
        kind = next((name for of, name in kinds if isinstance(error, of)), "service-nonsense")
        yield self._of(kind, error)
        proxy = next((name for name in _PROXIES if self._environment.get(name)), None)
        if self._settings.proxy is None and proxy and kind in ("service-unreachable", "service-local"):
            yield finding("proxy-ignored", "service", f"{proxy} is set in the environment")

    def _off(self, offset: float) -> Finding:
        here = time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime())
        return finding(
            "clock-off",
            "service",
            f"time here: {here}; compared with the Date of {self._settings.server}",
            seconds=f"{abs(offset):.0f}",
            side="behind" if offset > 0 else "ahead of",
        )

    def _of(self, kind: str, error: IampassError) -> Finding:
        return finding(kind, "service", str(error), remedy=error.remedy)


def check_signature(client: ManagementAPI) -> None:
    """Make a signed call about a user who cannot exist, which IAMPASS must decline. Raises IampassError."""
    try:
        client.has_registered_mobile_device(_unknown_user(), deadline=Deadline.after(_SECONDS))
    except Declined:
        return


def _unknown_user() -> str:
    """The id of a user who cannot exist."""
    return f"pam-iampass-doctor-{secrets.token_hex(16)}"
