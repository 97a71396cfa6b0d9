"""The requests of an administrator to the agent, by their names on the control socket.

A request that changes something (an act) has been carried out when it is answered, and leaves a record.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Callable

from pam_iampass import __version__
from pam_iampass.agent.control import ControlRequest, Handler
from pam_iampass.audit.administrator import Administrator
from pam_iampass.audit.journal import Act, ActRecord, Journal
from pam_iampass.config.settings import load
from pam_iampass.config.value_types import LONGEST_BYPASS
from pam_iampass.errors import PamIampassError, StateError, shown
from pam_iampass.login.agent_state import AgentState
from pam_iampass.login.bypass import Bypass, Ended, Moment
from pam_iampass.login.throttle import cool_off, summary
from pam_iampass.outcome import Outcome
from pam_iampass.session.kept_session import KeptSession, State
from pam_iampass.system.accounts import Accounts, LookupFailed, UnknownAccount
from pam_iampass.system.boot import since_boot

PATIENCE = 20.0
"""How long to wait until sessions have ended: longer than the time between a warning and the end. Seconds."""
PATIENCE_FOR_EACH = 0.5
"""How much longer for each session: some are ended at a time. Seconds."""
_LOOK = 1.0  # how often there is news of sessions that are still to end
_SHORTEST_PREFIX = 4


class Administration:
    """The requests of an administrator."""

    def __init__(
        self,
        state: AgentState,
        journal: Journal,
        pending: Callable[[], int],
        report: Callable[[str, str, float, dict[str, str]], object],
    ) -> None:
        """`pending` returns the number of pending logins. `report` is `LoginReports.put`."""
        self._report = report
        self._state = state
        self._journal = journal
        self._pending = pending
        self._started = time.monotonic()

    @property
    def handlers(self) -> Mapping[str, Handler]:
        """Each request with what answers it."""
        return {
            "agent status": self._agent_status,
            "state summary": self._state_summary,
            "throttle show": self._throttle_show,
            "throttle clear": self._throttle_clear,
            "recovery list": self._recovery_list,
            "recovery new": self._recovery_new,
            "recovery revoke": self._recovery_revoke,
            "bypass add": self._bypass_add,
            "bypass list": self._bypass_list,
            "bypass end": self._bypass_end,
            "session list": self._session_list,
            "session end": self._session_end,
            "session wait": self._session_wait,
            "phone lost": self._phone_lost,
            "phone disabled": self._phone_disabled,
            "phone forget": self._phone_forget,
            "phone waits": self._phone_waits,
            "user forget": self._user_forget,
            "rescue report": self._rescue_report,
        }

    # check

    def _agent_status(self, _request: ControlRequest) -> dict[str, Any]:
        return {
            "version": __version__,
            "uptime": round(time.monotonic() - self._started, 1),
            "pending": self._pending(),
            "problem": self._state.problem,
        }

    def _state_summary(self, request: ControlRequest) -> list[list[float]]:
        """Return how many codes are left to each of the users `names`, and for how many seconds no request is sent to
        them."""
        limits, now = load(request.text("config")).throttle, since_boot()
        found = []
        for name in request.texts("names"):
            codes, state = self._state.recovery_codes.stored(name), self._state.throttle.state(name)
            waits = [cool_off(failures, limits, now) for failures in state.failures.values()]
            waits.append(state.wait_for_cap(limits, now))
            found.append([codes.left if codes else 0, max(waits)])
        return found

    def _rescue_report(self, request: ControlRequest) -> None:
        """Report a login that the door has let in while no agent ran, as root's watch has read in the journal.

        One that finds no room is not counted: the watch reads it again in an hour."""
        texts = {name: request.text(name) for name in ("user", "service", "remote", "reason")}
        texts["outcome"] = Outcome.UNAVAILABLE.value
        self._report(request.text("config"), request.text("login"), request.number("at"), texts)

    # throttle

    def _throttle_show(self, request: ControlRequest) -> dict[str, Any]:
        name, settings = request.text("user"), load(request.text("config"))
        state, now = self._state.throttle.state(name), since_boot()
        agents = settings.agents_throttle
        entry = settings.user_table().find(name)
        own = agents if entry is not None and entry.acts_for else settings.throttle
        return {"user": name, **summary(state, own, agents, now)}

    def _throttle_clear(self, request: ControlRequest) -> None:
        name = request.text("user")
        with self._recorded(Act.THROTTLE_CLEAR, request, name):
            self._state.throttle.clear(name)

    # recovery

    def _recovery_list(self, request: ControlRequest) -> dict[str, Any]:
        name = request.text("user")
        stored = self._state.recovery_codes.stored(name)
        codes = stored.codes if stored else ()
        return {
            "user": name,
            "codes": len(codes),
            "left": stored.left if stored else 0,
            "made_at": stored.made_at if stored else None,
            "used_at": sorted(code.used_at for code in codes if code.used_at is not None),
        }

    def _recovery_new(self, request: ControlRequest) -> list[str]:
        name = request.text("user")
        with self._recorded(Act.RECOVERY_NEW, request, name):
            return self._state.recovery_codes.renew(name)

    def _recovery_revoke(self, request: ControlRequest) -> bool:
        name = request.text("user")
        with self._recorded(Act.RECOVERY_REVOKE, request, name) as facts:
            revoked = self._state.recovery_codes.revoke(name)
            if not revoked:
                facts.append("there were none")
            return revoked

    # bypass

    def _bypass_add(self, request: ControlRequest) -> dict[str, Any]:
        """Let `user` in without the phone for `seconds`, through `service` or, if that is empty, all services."""
        name, service, seconds = request.text("user"), request.text("service"), request.number("seconds")
        with self._recorded(Act.BYPASS, request, name, service or "all") as facts:
            if not 0 < seconds <= LONGEST_BYPASS:
                raise PamIampassError("a bypass lasts at most 24 h", "give a shorter time")
            uid: int | None = None  # of a person of the user table who has no account
            try:
                account = Accounts().named(name)
                name, uid = account.name, account.uid
            except UnknownAccount:
                pass
            except LookupFailed as failure:
                raise PamIampassError(str(failure)) from None
            bypass = Bypass(
                name,
                uid,
                service or None,
                seconds,
                Moment.now(),
                request.administrator.name,
                request.text("reason"),
                request.flag("survives_reboot"),
            )
            replaced = self._ended_early(self._state.bypasses.add(bypass))
            until = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(bypass.until(Moment.now())))
            facts += filter(
                None, (f"until {until}", "replaces another one" if replaced else "", bypass.reason)
            )
        return bypass.members()

    def _bypass_list(self, _request: ControlRequest) -> list[dict[str, Any]]:
        self.record_ended_bypasses()
        return [bypass.members() for bypass in self._state.bypasses.active()]

    def _bypass_end(self, request: ControlRequest) -> int:
        """End the bypasses of `user`; returns how many were active."""
        name = request.text("user")
        with self._recorded(Act.BYPASS_END, request, name) as facts:
            ended = self._ended_early(self._state.bypasses.end(name))
            facts.append(f"{ended} ended")
        return ended

    def record_ended_bypasses(self) -> None:
        """Remove bypasses whose time is over, and record that."""
        with contextlib.suppress(StateError):
            self._ended_early(self._state.bypasses.prune())

    def _ended_early(self, ended: Sequence[Ended]) -> int:
        """Return how many of these were ended by somebody, and record that the time of the others is over."""
        for one in ended:
            if one.expired:
                by, service = Administrator(one.bypass.made_by), one.bypass.service or "all"
                over = ActRecord(Act.BYPASS_OVER, one.bypass.user, by, "its time is over", service=service)
                self._journal.act(over)
        return sum(not one.expired for one in ended)

    # session

    def _session_list(self, _request: ControlRequest) -> list[dict[str, Any]]:
        return [listed(kept) for kept in self._state.kept_sessions()]

    def _session_end(self, request: ControlRequest) -> dict[str, Any]:
        """End the sessions of the user or with the id `who`, or `all`; answers when their logins are over."""
        who = None if request.flag("all") else request.text("who")
        idents = [kept.id for kept in chosen(self._state.kept_sessions(), who)]
        with self._recorded(Act.SESSION_END, request, who or "") as facts:
            left = self._end(idents, request)
            facts.append(f"{len(idents) - len(left)} of {len(idents)} sessions ended")
        return {"ended": [ident for ident in idents if ident not in left], "not_ended": left}

    def _session_wait(self, request: ControlRequest) -> dict[str, Any]:
        """Cut off `users` again: something may have begun meanwhile. Answers when `sessions` and theirs are over."""
        begun = [ident for user in request.texts("users") for ident in self._state.phone_lost(user)[1]]
        sessions = list(dict.fromkeys([*request.texts("sessions"), *begun]))
        left = self._end(sessions, request)
        return {"ended": [ident for ident in sessions if ident not in left], "not_ended": left}

    def _end(self, sessions: Sequence[str], request: ControlRequest) -> list[str]:
        """End sessions, or go on with that; returns the ids of the ones that have not ended in time."""
        until = time.monotonic() + PATIENCE + PATIENCE_FOR_EACH * len(sessions)
        left = self._state.end_sessions(sessions, min(_LOOK, PATIENCE))
        while left and time.monotonic() < until:
            request.progress(f"{len(sessions) - len(left)} of {len(sessions)} sessions ended")
            left = self._state.end_sessions(left, _LOOK)
        return list(left)

    # phone lost, user remove

    def _phone_lost(self, request: ControlRequest) -> dict[str, Any]:
        """Deny the logins of the user that need the phone, until IAMPASS has disabled it, and end their kept sessions
        and bypasses; with `end_codes` also revoke their recovery codes. Does not wait."""
        name, tokens, problem, bypasses, codes = request.text("user"), request.texts("tokens"), "", 0, 0
        with self._recorded(Act.PHONE_LOST, request, name) as facts:
            try:  # before: a login that begins meanwhile finds it
                config, application = request.text("config"), request.text("application")
                self._state.lost_phones.add(name, config, application, tokens)
            except StateError as error:
                problem = error.diagnostics()
            pending, sessions, forgets = self._cut_off(name, facts, tokens)
            try:
                bypasses = self._ended_early(self._state.bypasses.end(name))
            except StateError as error:  # they are over nevertheless, until the agent starts again
                problem = problem or error.diagnostics()
            try:
                if request.flag("end_codes"):
                    self._state.recovery_codes.revoke(name)
                stored = self._state.recovery_codes.stored(name)
                codes = stored.left if stored else 0
            except StateError as error:
                problem = problem or error.diagnostics()
            facts.append(f"{bypasses} bypasses ended, {codes} recovery codes left")
        return {
            "pending": pending,
            "sessions": sessions,
            "problem": problem or forgets,
            "bypasses": bypasses,
            "codes": codes,
        }

    def _phone_disabled(self, request: ControlRequest) -> bool:
        """IAMPASS has disabled the lost phone with these `tokens`, or deleted their users: logins may ask the next
        one."""
        self._state.lost_phones.disabled(request.text("application"), request.texts("tokens"))
        return True

    def _phone_forget(self, request: ControlRequest) -> bool:
        """Take back the report of a lost phone; returns whether there was one."""
        name = request.text("user")
        with self._recorded(Act.PHONE_LOST, request, name) as facts:
            phones = self._state.lost_phones.of(name)
            facts.append("the report is taken back" if phones else "there is no report to take back")
            self._state.lost_phones.discard(*phones)
            return bool(phones)

    def _phone_waits(self, request: ControlRequest) -> dict[str, Any] | None:
        """The lost phone of the user, or of this token, that IAMPASS is still to disable: for whom it was reported, and
        whether IAMPASS can be told of it."""
        lost = self._state.lost_phones
        phones = [*lost.of_token(request.text("token")), *lost.of(request.text("user"))]
        return {"person": phones[0].person, "has_token": bool(phones[0].token)} if phones else None

    def _user_forget(self, request: ControlRequest) -> dict[str, Any]:
        """Do the same, also end bypasses, and remove recovery codes and limits. Does not wait."""
        name = request.text("user")
        with self._recorded(Act.USER_REMOVE, request, name) as facts:
            _pending, sessions, problem = self._cut_off(name, facts)
            self._state.throttle.clear(name)
            self._ended_early(self._state.bypasses.end(name))
            codes = self._state.recovery_codes.revoke(name)
            return {"codes": codes, "sessions": sessions, "problem": problem}

    def _cut_off(self, name: str, facts: list[str], tokens: Sequence[str] = ()) -> tuple[int, list[str], str]:
        pending, sessions, problem = self._state.phone_lost(name, tokens)
        facts.append(f"{pending} pending logins denied, {len(sessions)} sessions are being ended")
        if problem:
            facts.append("a restart of the agent forgets it: its file cannot be written")
        return pending, sessions, problem

    @contextlib.contextmanager
    def _recorded(
        self, act: Act, request: ControlRequest, user: str, service: str = ""
    ) -> Iterator[list[str]]:
        """Record what the block does. The block may add its results to the list."""
        facts: list[str] = []
        failed = True
        try:
            yield facts
            failed = False
        except PamIampassError as error:
            facts.append(error.what)
            raise
        finally:
            reason = "; ".join(facts)
            self._journal.act(ActRecord(act, user, request.administrator, reason, failed, service))


def chosen(sessions: Sequence[KeptSession], who: str | None) -> list[KeptSession]:
    """The sessions of a user or a person, or of an id or its beginning; all for None.

    Raises PamIampassError for two ids.
    """
    if who is None:
        return list(sessions)
    of_user = [kept for kept in sessions if who in (kept.user, kept.person, kept.approver)]
    if of_user or len(who) < _SHORTEST_PREFIX:
        return of_user
    of_id = [kept for kept in sessions if kept.id.startswith(who)]
    if len(of_id) > 1:
        raise PamIampassError(
            f"the ids of {len(of_id)} sessions begin with {shown(who)}", "give more of the id"
        )
    return of_id


def listed(kept: KeptSession) -> dict[str, Any]:
    """A session without its secrets."""
    return {
        "id": kept.id,
        "user": kept.user,
        "person": kept.person,
        "approver": kept.approver,
        "service": kept.service,
        "from": kept.rhost,
        "since": kept.since,
        "status": status_of(kept),
        "seconds_left": round(kept.ends_at - since_boot()),
        "covered": kept.covered,
        "last_covered": kept.last_covered,
        "logins": [
            {"user": login.user, "service": login.service, "tty": login.tty, "pid": login.pid}
            for login in kept.attached
        ],
    }


def status_of(kept: KeptSession) -> str:
    """One word for its status."""
    if kept.state is State.ENDING:
        return "ending"
    if kept.away:
        return "away"
    return "revoked" if kept.revoked else "active"
