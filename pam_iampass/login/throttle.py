"""How often a phone is asked, and whose turn it is: the rules, without threads, files and clocks.

A state belongs to one person, and is in frozen records. Each event is a function from a state, and the time, to the
state afterwards, or to a Refusal, which changes nothing. `ThrottleStore` (`throttle_store.py`) carries them out.

The logins of one person wait for their turn; a login ends no other one. Turns go round by origin: a PAM service and a
remote host (`origin_of`). An origin whose requests are not approved has to wait longer each time; all origins
together have an hourly limit.

Times are seconds since boot, so that nothing depends on the time of day; a time in the future is from before the last
boot, and is dropped.
"""

from __future__ import annotations

import enum
import hashlib
import ipaddress
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from typing import Any, Callable, TypeVar, Union

from pam_iampass.config.settings import ThrottleSettings
from pam_iampass.outcome import Login

MINUTE = 60.0
"""Seconds; no next turn is later than that."""
HOUR = 3600.0
"""Seconds after which everything is dropped."""
MOST_KEPT = 500
"""The number of wrong recovery codes, of failing origins and of origins that had a turn that are kept. Older ones are
dropped, so that the state stays small."""
MOST_PENDING = 100
"""Logins of one person that wait, without those from usual origins. A third of it on one host, and of those another
third."""
TURN_PATIENCE = 2.0
"""Seconds. A login that could have its turn and does not take it within this time is stopped: the next one goes
first."""
AFTER_OWN = 30.0
"""Seconds between a request of a person, or of somebody whom they approve, and the next one of an account that acts for
them, so that they do not take it for another one of their own."""
_USUAL = "usual origins"
"""Stands in the turns for all usual origins together, and before the name of an origin or host for logins from usual
origins there alone."""

LEAST_LEFT = 1 / 6
"""The part of the time that must be left for the person to answer; a request with less is not sent."""

IPAddress = Union[ipaddress.IPv4Address, ipaddress.IPv6Address]
_T = TypeVar("_T")


# Where a login comes from


def ip_address(text: str) -> IPAddress | None:
    """The address in `text`, in its one form: an IPv4 address in IPv6 (`::ffff:`) becomes the IPv4 address.

    None for anything but a literal address, such as a host name, which the owner of the address may choose (DNS).
    """
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        return None
    return getattr(address, "ipv4_mapped", None) or address


def client_address(ssh_connection: str | None) -> str:
    """The address of the client in SSH_CONNECTION; empty where it has none: AF_UNIX and vsock are `UNKNOWN` there."""
    return str(ip_address((ssh_connection or "").partition(" ")[0]) or "")


def origin_of(login: Login) -> str:
    """The origin of a login, as limits count it: the PAM service, and the remote host or the machine itself.

    All loopback addresses are the machine itself: any of its users has 16 million of them. In sshd, so is a connection
    without an address (AF_UNIX, vsock), and PAM_RHOST does not count: with `UseDNS yes` it is a host name. Of an IPv6
    address its /64 network counts: a host can choose any address in it (RFC 4862).
    """
    return origin(login.service, login.address if login.through_sshd else login.rhost)


def origin(service: str, remote: str | None, machine: str = "") -> str:
    """The origin, as in `origin_of`, of a login from `remote`: the same on all machines, unless it is from the
    `machine` itself."""
    address = ip_address(remote or "")
    if address is not None and address.is_loopback:
        remote = None
    elif isinstance(address, ipaddress.IPv6Address):
        remote = str(ipaddress.IPv6Network((int(address), 64), strict=False))
    elif address is not None:
        remote = str(address)
    return f"{service}\0{f'from {remote}' if remote else f'here{machine}'}"


def origin_key(person: str, login: Login, asker: str = "") -> str:
    """The key that stands for the origin in the state of a person: no address of a login is stored.

    If the person is asked as a second person, it also depends on the person who asks (`asker`), so that an asker who
    fails does not make others wait.
    """
    return key_of(person, origin_of(login), asker)


def key_of(person: str, origin: str, asker: str = "") -> str:
    """The key, as in `origin_key`, of what `origin` has returned."""
    text = f"{person}\0{origin}" + (f"\0{asker}" if asker else "")
    return hashlib.sha256(text.encode("utf-8", "surrogateescape")).hexdigest()


# The state of one person


@dataclass(frozen=True)
class Failures:
    """Consecutive requests of one place that were not approved."""

    count: int
    last: float
    """When the place had the last of them, or the approval that ended the series."""
    approved: float = 0.0
    """When a request of this place was last approved, if there are several hosts. Earlier failures on other hosts do
    not count there."""


@dataclass(frozen=True)
class Pending:
    """A login that waits for its turn, or has it."""

    origin: str
    ident: str
    began: float
    """When the login began: before the person was looked up."""
    since: float = 0.0
    """When it joined the others."""
    until: float = 0.0
    """The time after which it is ignored: its thread hangs, and must not lock users out."""
    has_turn: bool = False
    """Whether its request may be on the phone."""
    decided: bool = False
    """Whether the result of its request is known, and only its session remains to be ended."""
    host: str = ""
    """Where it logs in, if logins of several hosts wait for their turns."""
    is_familiar: bool = False
    """Whether the person has logged in to this host lately: what other hosts say of them then counts little."""
    is_usual: bool = False
    """Whether the person has done so from this origin: then logins from elsewhere neither take its place nor go
    first."""
    strange_hosts: int = 0
    """How many of the other hosts on which its origin fails are new to the person: together they count as one."""
    is_agents: bool = False
    """Whether an account that acts for the person asks. It comes after all others, which withdraw its request, and has
    a limit of its own. Its failures count for the account: at a gateway as those of an origin that no other login has,
    on a host without one in a state of the account."""

    @property
    def place(self) -> str:
        """The place that its failures count for: the origin, and the host if there are several."""
        return f"{self.origin} {self.host}" if self.host else self.origin


class Scope(enum.Enum):
    """The pending logins of a person for which a login waits."""

    PERSON = "all"
    ORIGIN = "those of its own origin"
    """The scope on a host of a gateway. The gateway gives the turns of all logins and counts their requests, so that no
    request counts on the host."""


@dataclass(frozen=True)
class Attempt:
    """A wrong recovery code, or a request for which no phone rang."""

    origin: str
    """The origin of its login, or the place."""
    at: float


_TYPES: dict[str, Callable[[Any], Any]] = {"str": str, "int": int, "float": float, "bool": bool}


def _record(kind: Any, stored: Mapping[str, Any]) -> Any:
    """A record that was stored as JSON. Raises KeyError, TypeError, ValueError and OverflowError."""
    return kind(**{each.name: _TYPES[str(each.type)](stored[each.name]) for each in fields(kind)})


class RequestResult(enum.Enum):
    """The result of a login that had its turn, as far as it matters to the throttle."""

    APPROVED = "approved"
    FAILED = "failed"
    """The request may have left this machine, and was not approved, whatever the reason."""
    NOT_SENT = "not sent"
    """No request has left this machine."""
    STOPPED = "stopped"
    """This process is being stopped: the request counts, but the caller is not the cause."""


class Cause(enum.Enum):
    """Why no request may be sent, or no recovery code is looked at."""

    LIMIT = "limit"
    """Too many failures or requests within a time: `Refusal.wait` says how long it lasts."""
    AT_CAPACITY = "at capacity"
    """Too many logins of the person wait."""
    NO_TURN = "no turn"
    """Other logins of the person took all the time."""
    PHONE_LOST = "phone lost"
    """The person's phone was reported lost, or the person was removed, after the login began."""


@dataclass(frozen=True)
class Refusal:
    """The answer to an event that may not happen."""

    cause: Cause
    reason: str = ""
    """The reason in words, for the administrator. Only LIMIT has one, and a time to wait."""
    wait: float = 0.0
    """Seconds until the event may happen."""


@dataclass(frozen=True)
class ThrottleState:
    """The state of one person."""

    failures: Mapping[str, Failures] = field(default_factory=dict)
    """Each by the place of its logins."""
    requests: Mapping[str, float] = field(default_factory=dict)
    """When each request was sent that was not approved, or is not yet, by the ident of its login."""
    pending: tuple[Pending, ...] = ()
    attempts: tuple[Attempt, ...] = ()
    turns: Mapping[str, float] = field(default_factory=dict)
    """When each origin and host had its last turn, and when a usual origin had it (`_USUAL`): any, and each of them and
    of their hosts."""
    next_turn: float = 0.0
    """When the next turn may begin."""
    lost: float = 0.0
    """When the person's phone was last reported lost, or the person was removed; 0 where that was not in this boot."""
    unrung: tuple[Attempt, ...] = ()
    """Requests at a gateway for which no phone rang, each by the place of its login."""
    of_agents: Mapping[str, float] = field(default_factory=dict)
    """As `requests`, of accounts that act for the person."""
    agents_from: float = 0.0
    """When the next turn of one of these may begin."""

    def to_json(self) -> dict[str, Any]:
        """The state in types of JSON, as hosts and gateways store it."""
        return asdict(self)

    @classmethod
    def from_json(cls, stored: Any) -> ThrottleState:
        """The state that `to_json` has returned, also if members of objects have another order. Raises ValueError."""
        try:
            failures = {place: _record(Failures, each) for place, each in stored["failures"].items()}
            turns = {name: float(at) for name, at in stored["turns"].items()}
            return cls(
                failures=dict(sorted(failures.items(), key=lambda each: each[1].last)),
                requests={ident: float(at) for ident, at in stored["requests"].items()},
                pending=tuple(_record(Pending, each) for each in stored["pending"]),
                attempts=tuple(_record(Attempt, each) for each in stored["attempts"]),
                turns=dict(sorted(turns.items(), key=lambda each: each[1])),
                next_turn=float(stored["next_turn"]),
                lost=float(stored["lost"]),
                unrung=tuple(_record(Attempt, each) for each in stored["unrung"]),
                of_agents={ident: float(at) for ident, at in stored["of_agents"].items()},
                agents_from=float(stored["agents_from"]),
            )
        except (AttributeError, KeyError, OverflowError, TypeError) as error:
            raise ValueError(f"this is no state of a person's limits: {error!r}") from None

    @property
    def is_empty(self) -> bool:
        """Whether nothing in it has an effect."""
        counted = self.failures or self.requests or self.attempts or self.unrung or self.of_agents
        return not (counted or self.pending or self.turns or self.lost)

    def current(self, now: float) -> ThrottleState:
        """The state without what is too old to count, and without what lies in the future."""

        def counts(at: float) -> bool:
            return 0 <= now - at < HOUR

        return ThrottleState(
            failures={origin: found for origin, found in self.failures.items() if counts(found.last)},
            requests={ident: at for ident, at in self.requests.items() if counts(at)},
            pending=tuple(login for login in self.pending if login.since <= now < login.until),
            attempts=tuple(attempt for attempt in self.attempts if counts(attempt.at)),
            turns={origin: at for origin, at in self.turns.items() if counts(at)},
            next_turn=self.next_turn if self.next_turn <= now + MINUTE else 0.0,
            lost=self.lost if self.lost <= now else 0.0,
            unrung=tuple(request for request in self.unrung if 0 <= now - request.at < MINUTE),
            of_agents={ident: at for ident, at in self.of_agents.items() if counts(at)},
            agents_from=self.agents_from if self.agents_from <= now + AFTER_OWN else 0.0,
        )

    def within(self, scope: Scope, login: Pending) -> ThrottleState:
        """The state with those pending logins only that a login waits for."""
        if scope is Scope.PERSON:
            return self
        return replace(self, pending=tuple(each for each in self.pending if each.origin == login.origin))

    def turn_holder(self) -> Pending | None:
        """The login that has its turn."""
        return next((each for each in self.pending if each.has_turn), None)

    def has_turn(self, login: Pending) -> bool:
        """Whether a login has its turn."""
        return any(each.has_turn and each.ident == login.ident for each in self.pending)

    def is_next(self, login: Pending, now: float) -> bool:
        """Whether it is the login's turn.

        Turns go round by origin, and by host if there are several: the origin or host whose last turn is longest ago
        goes first. Within an origin, the login that came first does.
        """
        if self.turn_holder() is not None or now < self._earliest(login):
            return False
        for each in self._in_order():
            if each.ident == login.ident:
                return True
            if now - max(self._earliest(each), each.since) < TURN_PATIENCE:
                return False
        return False

    def first(self, now: float) -> Pending | None:
        """The login whose turn it is, if none has it."""
        first = next(iter(self._in_order()), None)
        is_free = first is not None and self.turn_holder() is None and now >= self._earliest(first)
        return first if is_free else None

    def _earliest(self, login: Pending) -> float:
        """When a login may have its turn, if none has it."""
        return max(self.next_turn, self.agents_from) if login.is_agents else self.next_turn

    def is_withdrawn(self, login: Pending) -> bool:
        """Whether the request of a login must end because the person, for whom an account acts, has one of their
        own."""
        return login.is_agents and any(not each.is_agents and not each.decided for each in self.pending)

    def _in_order(self) -> list[Pending]:
        """The logins that wait, in the order of the turns. Accounts that act for the person come last. Of the others,
        usual origins go first, and after the turn of one, a login
        that has waited since before it: neither keeps the other from a turn. Then the last turn decides: the later one
        of the origin's and the host's, so that neither an origin on many hosts nor a host that names many origins comes
        before others. For usual origins only turns of usual origins count, so that nobody else's put them back. Between
        equal ones the origin's last turn decides, then the host's, then when they came, then the ident."""
        last_usual = self.turns.get(_USUAL, -1.0)
        was_usual = last_usual == max(self.turns.values(), default=0.0)

        def place(login: Pending) -> tuple[bool, bool, bool, float, float, float, float, str]:
            kind = f"{_USUAL} " if login.is_usual else ""
            of_origin = self.turns.get(kind + login.origin, -1.0)
            of_host = self.turns.get(kind + login.host, -1.0) if login.host else of_origin
            last = max(of_origin, of_host)
            was_passed = was_usual and not login.is_usual and login.since < last_usual
            then = last, of_origin, of_host, login.since, login.ident
            return login.is_agents, not was_passed, not login.is_usual, *then

        return sorted(self.pending, key=place)

    def next_chance(self, login: Pending, now: float) -> float:
        """Seconds until a login that waits may be next, if nothing happens before."""
        holder, earliest = self.turn_holder(), self._earliest(login)
        if holder is not None:
            return holder.until - now
        return earliest - now if now < earliest else TURN_PATIENCE

    def others_wait(self, login: Pending) -> bool:
        """Whether the person has another login that is not decided, and does not only wait behind this one."""
        return any(
            each.ident != login.ident
            and not each.decided
            and (each.has_turn or login.is_agents or not each.is_agents)
            for each in self.pending
        )

    def failures_of(self, login: Pending) -> Failures:
        """The failures that count for a login: the failures of its origin, on its own host and on other hosts.

        If the person has approved on its host lately, all failures on another host count as one, and so do all failures
        on hosts that are new to the person: a host can say what it likes, its root can have several, and neither must
        keep people from others. A stolen password that is tried on many hosts fails on each of them.
        """
        own = self.failures.get(login.place, Failures(0, 0.0))
        elsewhere = self._elsewhere(login)
        if login.is_familiar:
            count = len(elsewhere) - max(login.strange_hosts - 1, 0)
        else:
            count = sum(found.count for found in elsewhere.values())
        return Failures(own.count + count, max([own.last, *(found.last for found in elsewhere.values())]))

    def hosts_failing(self, login: Pending) -> list[str]:
        """The other hosts on which requests of a login's origin were not approved, if there were several."""
        elsewhere = self._elsewhere(login)
        return list(elsewhere) if sum(found.count for found in elsewhere.values()) > 1 else []

    def _elsewhere(self, login: Pending) -> dict[str, Failures]:
        """The failures of a login's origin on other hosts that count for the login, by host. Only failures since the
        person last approved on its own host count: a person with the right phone is not kept waiting there."""
        since = self.failures.get(login.place, Failures(0, 0.0)).approved
        counted = {}
        for place, found in self.failures.items():
            origin, _, host = place.partition(" ")
            is_elsewhere = login.host and origin == login.origin and host != login.host
            if is_elsewhere and found.count and found.last > since:
                counted[host] = found
        return counted

    def backoff(self, login: Pending, limits: ThrottleSettings, now: float) -> float:
        """Seconds until the next request of a login's origin may be sent. The first failure has no effect."""
        return cool_off(self.failures_of(login), limits, now)

    def wait_for_cap(self, limits: ThrottleSettings, now: float, *, of_agents: bool = False) -> float:
        """Seconds until one more request may be sent within the hourly limit, of the person or of accounts that act for
        them."""
        counted = self.of_agents if of_agents else self.requests
        return _wait(list(counted.values()), limits.requests_per_hour, now)


def cool_off(failures: Failures, limits: ThrottleSettings, now: float) -> float:
    """Seconds until another request may follow these failures."""
    if failures.count < 2:
        return 0.0
    length = min(limits.cool_off * 2.0 ** min(failures.count - 2, 20), limits.longest_cool_off)
    return max(failures.last + length - now, 0.0)


def _wait(moments: list[float], most: int, now: float, within: float = HOUR) -> float:
    """Seconds until one more event may follow the ones at `moments`, where `most` may happen within some time."""
    return 0.0 if len(moments) < most else sorted(moments)[len(moments) - most] + within - now


# Events: a login that wants a request


def joined(
    state: ThrottleState, login: Pending, limits: ThrottleSettings, scope: Scope = Scope.PERSON
) -> ThrottleState | Refusal:
    """A login wants its turn: it takes it, or waits for it."""
    refusal = _refusal(state, login, limits, login.since, scope)
    if refusal is not None:
        return refusal
    others = sum(not each.is_usual and each.is_agents is login.is_agents for each in state.pending)
    if not login.is_usual and others >= MOST_PENDING:
        return Refusal(Cause.AT_CAPACITY)
    state = replace(state, pending=(*state.pending, login))
    is_next = state.within(scope, login).is_next(login, login.since)
    return _with_turn(state, login, login.since, scope) if is_next else state


def tried(
    state: ThrottleState,
    login: Pending,
    limits: ThrottleSettings,
    now: float,
    scope: Scope = Scope.PERSON,
) -> ThrottleState | Refusal:
    """A login that waits takes its turn if it may.

    The limits are checked again: much may have happened while it waited.
    """
    if state.lost >= login.began:
        return Refusal(Cause.PHONE_LOST)
    if not state.within(scope, login).is_next(login, now):
        return state
    return _refusal(state, login, limits, now, scope) or _with_turn(state, login, now, scope)


def decided(
    state: ThrottleState, login: Pending, result: RequestResult, limits: ThrottleSettings, now: float
) -> ThrottleState:
    """The result of the request of a login is known."""
    pending = tuple(
        replace(each, decided=each.decided or each.ident == login.ident) for each in state.pending
    )
    state = replace(state, pending=pending)
    if result is RequestResult.FAILED:
        state = _failed(state, login, now)
    if result is RequestResult.APPROVED:
        failures = _without(state.failures, login.place)
        if any(place.partition(" ")[0] == login.origin for place in failures):  # it has failed on other hosts
            failures = _newest({**failures, login.place: Failures(0, now, approved=now)})
        state = replace(state, failures=failures)
    if result in (RequestResult.APPROVED, RequestResult.NOT_SENT):
        state = _uncounted(state, login)
    return state if result is RequestResult.NOT_SENT else _rang(state, login, now, now + limits.spacing)


def asked_another(
    state: ThrottleState, login: Pending, limits: ThrottleSettings, now: float, share: int = 3
) -> ThrottleState | Refusal:
    """A login is about to ask a second person, or an account its owner. This counts for the person or the account that
    logs in as well, which needs no turn for it.

    A person who logs in may use a third of the requests that another person may get in an hour.
    """
    state = _uncounted(state, login)
    own_limits = replace(limits, requests_per_hour=max(limits.requests_per_hour // share, 1))
    refusal = _refusal(state, login, own_limits, now, Scope.PERSON)
    return refusal or replace(state, requests={**state.requests, login.ident: now})


def another_decided(
    state: ThrottleState, login: Pending, result: RequestResult, limits: ThrottleSettings, now: float
) -> ThrottleState:
    """A login that asked a second person has its result, which counts for the person who logs in."""
    return replace(decided(state, login, result, limits, now), next_turn=state.next_turn)


def left(state: ThrottleState, login: Pending, now: float, *, failed: bool) -> ThrottleState:
    """A login gives its place up before it has sent a request; `failed` if that counts as a failure."""
    pending = tuple(each for each in state.pending if each.ident != login.ident)
    state = _uncounted(replace(state, pending=pending), login)
    return _failed(state, login, now) if failed else state


def ended(state: ThrottleState, login: Pending, now: float) -> ThrottleState:
    """A login is over, and its session too. If it had its turn and recorded no result, it counts as a failure."""
    found = [each for each in state.pending if each.ident == login.ident and each.has_turn]
    state = replace(state, pending=tuple(each for each in state.pending if each.ident != login.ident))
    if found and not found[0].decided:
        state = _failed(_rang(state, login, now, state.next_turn), login, login.since)
    return replace(state, next_turn=max(state.next_turn, now)) if found else state


def expired(state: ThrottleState, now: float) -> ThrottleState:
    """Logins whose turn is over without a result count as failures: nobody knows what has become of their requests."""
    for login in state.pending:
        if login.has_turn and not login.decided and login.until <= now:
            state = _failed(state, login, login.until)
    return state


def rang_nobody(state: ThrottleState, login: Pending, now: float) -> ThrottleState:
    """The request of a login is over, and no phone rang for it."""
    return replace(state, unrung=(*state.unrung, Attempt(login.place, now))[-MOST_KEPT:])


def unrung_refusal(state: ThrottleState, login: Pending, most: int, now: float) -> Refusal | None:
    """Why a login may send no request: a place may have `most` a minute for which no phone rings."""
    moments = [request.at for request in state.unrung if request.origin == login.place]
    wait = _wait(moments, most, now, MINUTE)
    reason = f"no phone rang for {most} requests of this host within a minute from this origin"
    return Refusal(Cause.LIMIT, reason, wait) if wait else None


def _refusal(
    state: ThrottleState, login: Pending, limits: ThrottleSettings, now: float, scope: Scope
) -> Refusal | None:
    """Why a login may send no request."""
    if state.lost >= login.began:
        return Refusal(Cause.PHONE_LOST)
    if scope is Scope.ORIGIN:
        return None
    wait = state.backoff(login, limits, now)
    if wait:
        count = state.failures_of(login).count
        whose = "of this account" if login.is_agents else "from this origin"
        reason = f"backoff: {count} consecutive requests {whose} were not approved"
        return Refusal(Cause.LIMIT, reason, wait)
    if login.is_agents:
        wait = state.wait_for_cap(limits, now, of_agents=True)
        most = limits.requests_per_hour
        reason = f"{most} requests of accounts that act for this person were not approved within an hour"
        return Refusal(Cause.LIMIT, f"{reason} (agents.requests_per_hour)", wait) if wait else None
    wait = state.wait_for_cap(limits, now)
    if wait:
        reason = f"{limits.requests_per_hour} requests within an hour were not approved (requests_per_hour)"
        return Refusal(Cause.LIMIT, reason, wait)
    return None


def _with_turn(state: ThrottleState, login: Pending, now: float, scope: Scope) -> ThrottleState:
    """The login has its turn, and its request counts from now on if this machine counts any."""
    turns = dict(state.turns)
    names = [name for name in (login.host, login.origin) if name]
    if login.is_usual:
        names += [_USUAL, *(f"{_USUAL} {name}" for name in names)]
    for name in names:
        turns = {**_without(turns, name), name: now}
    state = replace(
        state,
        pending=tuple(
            replace(each, has_turn=True) if each.ident == login.ident else each for each in state.pending
        ),
        turns=_newest(turns),
    )
    return state if scope is Scope.ORIGIN else counted(state, login, now)


def counted(state: ThrottleState, login: Pending, now: float) -> ThrottleState:
    """The request of a login counts."""
    if login.is_agents:
        return replace(state, of_agents={**state.of_agents, login.ident: now})
    return replace(state, requests={**state.requests, login.ident: now})


def _uncounted(state: ThrottleState, login: Pending) -> ThrottleState:
    """The request of a login does not count."""
    requests, of_agents = (_without(each, login.ident) for each in (state.requests, state.of_agents))
    return replace(state, requests=requests, of_agents=of_agents)


def _rang(state: ThrottleState, login: Pending, now: float, next_turn: float) -> ThrottleState:
    """A request that may have rung is over."""
    agents_from = state.agents_from if login.is_agents else now + AFTER_OWN
    return replace(state, next_turn=next_turn, agents_from=agents_from)


def _failed(state: ThrottleState, login: Pending, at: float) -> ThrottleState:
    """One more request of the place of a login was not approved."""
    if login.is_agents and not login.host:
        return state
    place = login.place
    before = state.failures.get(place, Failures(0, at))
    found = replace(before, count=before.count + 1, last=max(before.last, at))
    return replace(state, failures=_newest({**_without(state.failures, place), place: found}))


def _without(mapping: Mapping[str, _T], gone: str) -> dict[str, _T]:
    return {name: value for name, value in mapping.items() if name != gone}


def _newest(by_origin: dict[str, _T]) -> dict[str, _T]:
    return dict(list(by_origin.items())[-MOST_KEPT:])


# Events: recovery codes, and what an administrator does


def attempted(state: ThrottleState, origin: str, most: int, now: float) -> ThrottleState | Refusal:
    """A recovery code is to be looked at; it is wrong until it proves right. An origin may try `most` an hour."""
    wait = _wait([attempt.at for attempt in state.attempts if attempt.origin == origin], most, now)
    if wait:
        return Refusal(Cause.LIMIT, f"{most} wrong recovery codes within an hour from this origin", wait)
    return replace(state, attempts=(*state.attempts, Attempt(origin, now))[-MOST_KEPT:])


def attempt_was_right(state: ThrottleState, origin: str) -> ThrottleState:
    """The last attempt of the origin does not count."""
    places = [place for place, attempt in enumerate(state.attempts) if attempt.origin == origin]
    if not places:
        return state
    return replace(state, attempts=state.attempts[: places[-1]] + state.attempts[places[-1] + 1 :])


def phone_lost(state: ThrottleState, now: float) -> ThrottleState:
    """No login that has begun is approved any more."""
    return replace(state, lost=now)


def cleared(state: ThrottleState) -> ThrottleState:
    """Failures, requests and wrong codes are forgotten, but not pending logins."""
    return replace(state, failures={}, requests={}, attempts=(), unrung=(), of_agents={}, next_turn=0.0)


def summary(
    state: ThrottleState, limits: ThrottleSettings, agents: ThrottleSettings, now: float
) -> dict[str, Any]:
    """The state of a person as administrators see it, in types of JSON. Origins have no names: only hashes are
    stored. `agents` are the limits of accounts that act for the person."""
    places = [
        {"failures": failures.count, "seconds_left": round(cool_off(failures, limits, now), 1)}
        for failures in state.failures.values()
        if failures.count
    ]
    return {
        "pending": sum(login.has_turn and not login.decided for login in state.pending),
        "waiting": sum(not login.has_turn for login in state.pending),
        "requests_in_the_last_hour": len(state.requests),
        "requests_per_hour": limits.requests_per_hour,
        "seconds_until_next_request": round(state.wait_for_cap(limits, now), 1),
        "places": sorted(places, key=lambda place: -place["seconds_left"]),
        "wrong_codes_in_the_last_hour": len(state.attempts),
        "agents": {
            "requests_in_the_last_hour": len(state.of_agents),
            "requests_per_hour": agents.requests_per_hour,
            "seconds_until_next_request": round(state.wait_for_cap(agents, now, of_agents=True), 1),
        },
    }
