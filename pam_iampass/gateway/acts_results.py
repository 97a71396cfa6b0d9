"""What the portal is told of an act that was carried out, declared once for each act.

Acts result in objects of the gateway, some of which hold secrets: nothing is passed on unless it is named here.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Annotated, Any, Callable, TypeVar, get_type_hints

from pam_iampass.gateway.acts import hosts, passkeys, people, phones, requests, sessions
from pam_iampass.gateway.acts.act import Act
from pam_iampass.gateway.acts.hosts import SuspendedHost
from pam_iampass.gateway.acts.phones import LostPhone, Registration
from pam_iampass.gateway.acts.requests import VerifiedCaller
from pam_iampass.gateway.acts.sessions import EndedSessions
from pam_iampass.gateway.bypasses import Bypass
from pam_iampass.gateway.hosts import Host
from pam_iampass.gateway.sign_ins import NewLink

Tell = Callable[[Any], Any]
R = TypeVar("R", bound=Tell)


@dataclass(frozen=True)
class Result:
    """What is told of an act."""

    tell: Tell
    """Makes it of what the act results in: a dataclass, whose fields are annotated with what they are."""

    @property
    def answer(self) -> type[Any]:
        """The class of what is told."""
        found: type[Any] = get_type_hints(self.tell)["return"]
        return found


RESULTS: dict[type[Act[Any]], Result] = {}
"""What is told of each act that anybody but root may do."""


def result(*acts: type[Act[Any]]) -> Callable[[R], R]:
    """Declare what is told of these acts."""

    def declare(tell: R) -> R:
        RESULTS.update(dict.fromkeys(acts, Result(tell)))
        return tell

    return declare


@dataclass(frozen=True)
class Nothing:
    """Nothing but that it was done."""


@dataclass(frozen=True)
class Ended:
    ended: Annotated[int, "how many sessions have ended"]
    errors: Annotated[int, "how many IAMPASS has not ended yet: a gateway goes on with it"]


@dataclass(frozen=True)
class Lost:
    ended: Annotated[int, "how many sessions have ended"]
    bypasses: Annotated[int, "how many bypasses were ended"]
    codes: Annotated[int, "how many recovery codes are good"]
    disabled: Annotated[bool, "whether IAMPASS has disabled the phone; if not, a gateway goes on with it"]


@dataclass(frozen=True)
class Link:
    url: Annotated[str | None, "the link that registers a phone; null if it was sent"]


@dataclass(frozen=True)
class PasskeyLink:
    url: Annotated[str, "the link that registers a passkey"]
    ends_at: Annotated[datetime, "until when it is good"]


@dataclass(frozen=True)
class Verified:
    answer: Annotated[str, "`approved`: it is this person who is calling; otherwise `denied` or `over`"]
    reason: Annotated[str, "why no phone was asked; empty if one was"]


@dataclass(frozen=True)
class Until:
    ends_at: Annotated[datetime, "until when"]


@dataclass(frozen=True)
class Codes:
    codes: Annotated[list[str], "the codes, which are shown once"]


@dataclass(frozen=True)
class Number:
    number: Annotated[int, "how many there were"]


@dataclass(frozen=True)
class Changed:
    changed: Annotated[bool, "whether there was anything to change"]


@dataclass(frozen=True)
class HostState:
    status: Annotated[str, "the status that the host has now"]
    ended: Annotated[int, "how many requests on phones have ended"] = 0


def _ended(done: EndedSessions) -> int:
    return len(done.were_open)


@result(sessions.EndSessions, requests.DisownSession)
def _sessions(done: EndedSessions) -> Ended:
    return Ended(_ended(done), len(done.errors))


@result(phones.ReportLostPhone)
def _lost_phone(done: LostPhone) -> Lost:
    return Lost(_ended(done.ended), done.bypasses, done.codes, done.error is None)


@result(phones.NewPhone)
def _new_phone(done: Registration) -> Link:
    return Link(done.url)


@result(requests.VerifyCaller)
def _verified(done: VerifiedCaller) -> Verified:
    return Verified(done.answer.value, done.why)


@result(passkeys.LinkPerson)
def _passkey_link(done: NewLink) -> PasskeyLink:
    return PasskeyLink(done.url, done.expires_at)


@result(passkeys.AddPasskey, passkeys.RemovePasskey, passkeys.ConfirmPasskey)
def _nothing(_: None) -> Nothing:
    return Nothing()


@result(passkeys.CodeForLostPhone)
def _code(done: str) -> Codes:
    return Codes([done])


@result(people.BypassPhone)
def _bypass(done: Bypass) -> Until:
    return Until(done.ends_at)


@result(people.EndBypasses, passkeys.EndSignIns)
def _number(done: int) -> Number:
    return Number(done)


@result(people.NewCodes)
def _codes(done: Sequence[str]) -> Codes:
    return Codes(list(done))


@result(people.RevokeCodes)
def _revoked(done: bool) -> Changed:
    return Changed(done)


@result(hosts.AdmitHost, hosts.ResumeHost)
def _host(done: Host) -> HostState:
    return HostState(done.status.value)


@result(hosts.SuspendHost)
def _suspended(done: SuspendedHost) -> HostState:
    return HostState(done.host.status.value, _ended(done.ended))
