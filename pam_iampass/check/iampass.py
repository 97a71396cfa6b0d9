"""Asks IAMPASS, without changing anything or ringing a phone: whether it can be used, and which users have a phone."""

from __future__ import annotations

import enum
import secrets
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from functools import partial
from pathlib import Path

from pam_iampass.check.catalogue import finding, two_secrets
from pam_iampass.check.machine import MAX_USERS, Machine
from pam_iampass.check.user_status import UserState, UserStatusReport
from pam_iampass.check.users import report_of
from pam_iampass.check.users import tokens as user_tokens
from pam_iampass.client import (
    Deadline,
    Declined,
    Gateways,
    IampassError,
    ManagementAPI,
    ManagementAPIResult,
    NotFound,
    Refused,
    Unavailable,
)
from pam_iampass.client.application import HostAtGateway, PersonAtGateway
from pam_iampass.client.errors import AWAY
from pam_iampass.config import settings as settings_file
from pam_iampass.config.settings import Settings
from pam_iampass.errors import ConfigurationError, Problem, Severity
from pam_iampass.login.context import connect
from pam_iampass.system.boot import machine_digest
from pam_iampass.system.service_user import reading_as
from pam_iampass.text import clean, names

_SECONDS = 15.0
"""The time for the first call, and for all others together."""
_CLOCK_TOLERANCE = 10.0
_DENIED_KINDS = ("no-device", "not-at-iampass", "users-not-on-this-host")


def findings(machine: Machine) -> Iterator[Problem]:
    """Everything that is wrong with the service, and with the phones of the users to check."""
    if machine.offline:
        machine.not_checked.append("the service: --offline")
        return
    if machine.settings is None:
        machine.not_checked.append(f"the service: {machine.no_settings}")
        return
    joined = bool(machine.settings.gateways)
    report = None if joined else report_of(machine)
    tokens = user_tokens(report, machine.settings, MAX_USERS) if report else {}
    if len(tokens) == MAX_USERS:
        machine.not_checked.append(
            f"phones of all but the first {MAX_USERS} users: name a user to check that one"
        )
    check = ServiceCheck(machine.settings, machine.progress)
    people = _of_gateway(machine) if joined else []
    works = True
    for found in check.findings(tokens, people, machine.named):
        denied = found.kind in _DENIED_KINDS and _is_denied_without_phone(machine)
        works = works and (found.key != "service" or not found.is_error)
        yield replace(found, severity=Severity.ERROR) if denied else found
    machine.service_works = works
    machine.has_device, machine.not_here = check.has_device, check.not_here
    if check.not_told:
        machine.not_checked.append(f"who may log in here: {check.not_told}")
    if check.unasked:
        machine.not_checked.append(f"phones of {len(check.unasked)} users: there was no time, or no answer")


def _of_gateway(machine: Machine) -> list[str]:
    """The users who are asked through the gateway, root and the caller first; at most as many as can be named to it."""
    try:
        statuses = machine.key_users
    except ConfigurationError:  # which was reported
        return []
    asked = [name for name, one in statuses.items() if UserState.ASKED in (one.state, *one.services.values())]
    asked.sort(key=lambda name: name not in ("root", machine.invoking, machine.named))
    if len(asked) > MAX_USERS:
        machine.not_checked.append(
            f"whether all but {MAX_USERS} users may log in here: name a user to check that one"
        )
    return asked[:MAX_USERS]


def host_at_gateway(settings: Settings) -> HostAtGateway:
    """Ask the gateways of this host about it. Raises IampassError."""
    client = connect(ManagementAPI, settings)
    try:
        return client.host(deadline=Deadline.after(_SECONDS))
    finally:
        client.close()


def people_at_gateway(settings: Settings, names: Sequence[str]) -> dict[str, PersonAtGateway]:
    """Ask the gateways of this host about these users. Raises IampassError."""
    client = connect(ManagementAPI, settings)
    try:
        return client.people(names, machine_digest(), deadline=Deadline.after(_SECONDS))
    finally:
        client.close()


def _is_denied_without_phone(machine: Machine) -> bool:
    """Whether the user that the command line names has nothing else to log in with, through any service."""
    status = None if machine.named is None else machine.users.get(machine.named)
    settings = machine.settings
    if status is None or settings is None or status.bypasses:
        return False
    if set(status.services.values()) - {UserState.ASKED}:
        return False
    asking = {*machine.stacks.with_us, *machine.stacks.with_us_in_account}
    codes = machine.state.codes.get(status.name) if machine.state else None
    return bool(asking) and not codes


class PhoneState(enum.Enum):
    """The answer of IAMPASS about a user."""

    REGISTERED = "registered"
    NONE = "none"
    UNKNOWN = "unknown"
    """IAMPASS does not know the user."""
    NOT_ASKED = "not_asked"
    """There was no time, or no answer."""


def phone_states(
    has_phone: Callable[[str], bool],
    tokens: Mapping[str, str],
    progress: Callable[[str], None],
    deadline: Deadline | None = None,
) -> dict[str, PhoneState]:
    """The state of each user in `tokens`, until the deadline. `has_phone` asks IAMPASS about a token.

    Raises IampassError for a failure that will meet all of them.
    """
    states = dict.fromkeys(tokens, PhoneState.NOT_ASKED)
    for number, (user, token) in enumerate(tokens.items(), 1):
        progress(f"checking phones: {number} of {len(tokens)}")
        if deadline is not None and deadline.expired:
            break
        try:
            states[user] = PhoneState.REGISTERED if has_phone(token) else PhoneState.NONE
        except (Declined, NotFound):
            states[user] = PhoneState.UNKNOWN
        except Unavailable:
            continue
    return states


def has_phone(client: ManagementAPI, token: str, deadline: Deadline | None = None) -> bool:
    """Whether IAMPASS has a phone of the user with this token. Raises IampassError."""
    found = client.has_registered_mobile_device(token, deadline=deadline)
    return found is ManagementAPIResult.has_mobile_device


def phones_of(
    report: UserStatusReport, config: Path, progress: Callable[[str], None]
) -> dict[str, PhoneState]:
    """The state of each user of the report who is asked on the phone.

    Raises PamIampassError if the settings in `config` are invalid, and IampassError as `phone_states` does.
    """
    with reading_as() as readers:
        read = settings_file.load(config, readers=readers)
    client = connect(ManagementAPI, read)
    try:
        return phone_states(partial(has_phone, client), user_tokens(report, read, sys.maxsize), progress)
    finally:
        client.close()


class ServiceCheck:
    """Calls the service that the settings name."""

    def __init__(self, settings: Settings, progress: Callable[[str], None]) -> None:
        self._settings = settings
        self._progress = progress
        self.has_device: dict[str, bool] = {}
        """Whether each user has a device, as far as IAMPASS was asked."""
        self.unasked: list[str] = []
        """Users about whom IAMPASS was not asked, or did not answer."""
        self.not_here: frozenset[str] = frozenset()
        """Users who may not log in to this host of a gateway."""
        self.not_told = ""
        """Why the gateway has not said who may."""

    def findings(
        self, tokens: Mapping[str, str], people: Sequence[str] = (), named: str | None = None
    ) -> Iterator[Problem]:
        """Everything that is wrong. `tokens` are the tokens of the users whose devices are checked. On a host of a
        gateway, the gateway is asked about `people`, and the report is about all of them, or only about the `named`
        one."""
        try:
            if self._settings.gateways:
                yield from self._joined(people, named)
                return
            client = connect(ManagementAPI, self._settings)
        except IampassError as error:  # there are no certificates to trust
            yield self._unusable(error)
            return
        try:
            yield from self._call(client, tokens)
        finally:
            client.close()

    def _joined(self, people: Sequence[str], named: str | None) -> Iterator[Problem]:
        """Everything that is wrong with a host that has joined. Each of its gateways is asked."""
        settings = self._settings
        hosts: list[HostAtGateway] = []
        failures: dict[str, IampassError] = {}
        offset: float | None = None
        for url in settings.gateways:
            self._progress(f"calling {url}")
            gateway = Gateways([url], settings.gateway_ca)
            client = ManagementAPI(settings.application_id, settings.application_secret, transport=gateway)
            try:
                hosts.append(client.host(deadline=Deadline.after(_SECONDS)))
            except IampassError as error:
                failures[url] = error
            finally:
                client.close()
            if offset is None:
                offset = gateway.clock_offset
        yield from _clock(offset, settings.gateways[0])
        if not hosts:
            yield self._failure(next(iter(failures.values())))
            return
        for url, failure in failures.items():
            yield finding("gateway-away", "service", str(failure), url=url)
        gateways = {gateway for host in hosts for gateway in host.gateways}
        if gateways and gateways != set(settings.gateways):
            there = clean(", ".join(sorted(gateways)), 500)
            yield finding("gateways-differ", "service", "GET /fleet/host", gateways=there)
        if hosts[0].status != "active":
            evidence = f"GET /fleet/host: {clean(hosts[0].name)}"
            yield finding("gateway-refuses", "service", evidence, what=f"it is {clean(hosts[0].status)}")
        elif people:
            yield from self._people(hosts[0], people, named)
        yield from self._presence(hosts[0])
        folder = settings.files[0].parent
        if left := [clean(str(file)) for file in sorted(folder.glob("application-secret*"))]:
            yield finding("gateway-secret-left", "service", str(folder), files=", ".join(left))

    def _people(self, host: HostAtGateway, people: Sequence[str], named: str | None) -> Iterator[Problem]:
        """Which of these users cannot log in here, as the gateway says."""
        self._progress(f"checking {len(people)} users at the gateway")
        try:
            told = people_at_gateway(self._settings, people)
        except IampassError as error:
            self.not_told = clean(str(error), 300)
            return
        self.not_here = frozenset(name for name in people if name in told and not told[name].may_log_in)
        has_phone = {name: told[name].has_phone for name in people if name in told and told[name].may_log_in}
        self.unasked = [name for name, phone in has_phone.items() if phone is None]
        self.has_device = {name: phone for name, phone in has_phone.items() if phone is not None}
        evidence = f"POST /fleet/people: {len(people)} users"
        if outside := [name for name in people if name in self.not_here and named in (None, name)]:
            whom = names(outside)
            yield finding("users-not-on-this-host", "users", evidence, names=whom, host=clean(host.name))
        of_report = {name: phone for name, phone in self.has_device.items() if named in (None, name)}
        if without := [name for name, phone in of_report.items() if not phone]:
            command = "At the gateway: pam-iampass-gateway"
            yield finding("no-device", "users", evidence, names=names(without), command=command)

    def _presence(self, host: HostAtGateway) -> Iterator[Problem]:
        """Whether logins that begin in logins on another host are not kept, although the gateway lets them."""
        what = [word for word, wanted in (("cover", host.covers), ("are covered by", host.covered)) if wanted]
        if what and not self._settings.for_service("sshd").session.keep:
            logins, keep = f"Logins here {' and '.join(what)}", "session.keep is off for sshd"
            yield finding("presence-not-kept", "session.keep", keep, what=logins)

    def _call(self, client: ManagementAPI, tokens: Mapping[str, str]) -> Iterator[Problem]:
        self._progress(f"calling {self._settings.server}")
        problem: IampassError | None = None
        try:
            check_signature(client)
        except IampassError as error:
            problem = error
        yield from _clock(client.transport.clock_offset, self._settings.server)
        if problem is not None:
            yield self._failure(problem)
            return
        if self._settings.previous_secret:
            file, everywhere = self._settings.files[1], "on all machines of this application"
            what, remedy = two_secrets(file, everywhere, is_second=client.used_previous_secret)
            evidence = "a signed call was accepted"
            yield finding("previous-secret-left", "service", evidence, what=what, remedy=remedy)
        try:
            deadline = Deadline.after(_SECONDS)
            asks = partial(has_phone, client, deadline=deadline)
            states = phone_states(asks, tokens, self._progress, deadline)
        except IampassError as error:
            yield self._failure(error)
            return
        self.has_device = {
            user: state is PhoneState.REGISTERED
            for user, state in states.items()
            if state in (PhoneState.REGISTERED, PhoneState.NONE)
        }
        self.unasked = [user for user, state in states.items() if state is PhoneState.NOT_ASKED]
        unknown = [user for user, state in states.items() if state is PhoneState.UNKNOWN]
        if not self.has_device and self._application_is_unknown(client):
            application, file = self._settings.application_id, self._settings.files[0]
            evidence = "404 to add_users without users"
            yield finding("application-unknown", "service", evidence, application=application, file=file)
            return
        without = [user for user, device in self.has_device.items() if not device]
        if without:
            evidence = f"device_registered is false for {len(without)} of {len(tokens)} users"
            yield finding("no-device", "users", evidence, names=names(without), command="pam-iampass")
        if unknown:
            evidence = f"{self._settings.server} does not know them (has_registered_mobile_device)"
            yield finding("not-at-iampass", "users", evidence, names=names(unknown))

    @staticmethod
    def _application_is_unknown(client: ManagementAPI) -> bool:
        """Whether IAMPASS does not know the application. It knows none of the users, which may be why."""
        try:
            return not client.knows_application(deadline=Deadline.after(_SECONDS))
        except IampassError:
            return False

    def _failure(self, error: IampassError) -> Problem:
        refused = isinstance(error, (NotFound, Refused))
        if refused and self._settings.gateways:
            return finding("gateway-refuses", "service", str(error), what="the gateway does not know it")
        if isinstance(error, Refused):
            file = (*self._settings.files, Path("application_secret_file"))[1]
            return finding("service-refused", "service", str(error), secret_file=file)
        return self._unusable(error)

    def _unusable(self, error: IampassError) -> Problem:
        whom = "the gateway" if self._settings.gateways else "IAMPASS"
        if isinstance(error, Unavailable) and error.away:
            whom = f"the gateway: {AWAY[error.away]}"
        return finding("service-unreachable", "service", str(error), remedy=error.remedy, whom=whom)


def _clock(offset: float | None, address: str) -> Iterator[Problem]:
    """Whether this machine's clock differs from a server's, which is `offset` seconds ahead."""
    if offset is not None and abs(offset) > _CLOCK_TOLERANCE:
        here = time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime())
        evidence = f"time here: {here}; compared with the Date of {address}"
        side = "behind" if offset > 0 else "ahead of"
        yield finding("clock-off", "service", evidence, seconds=f"{abs(offset):.0f}", side=side)


def check_signature(client: ManagementAPI) -> None:
    """Make a signed call about a user who cannot exist. Raises IampassError unless IAMPASS says so.

    That IAMPASS does not know the application is not noticed.
    """
    with suppress(Declined, NotFound):
        client.has_registered_mobile_device(_unknown_name(), deadline=Deadline.after(_SECONDS))


def _unknown_name() -> str:
    """The id of a user or of an application that cannot exist."""
    return f"pam-iampass-check-{secrets.token_hex(16)}"
