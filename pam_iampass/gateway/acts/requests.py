"""Acts for requests on phones: a help desk verifies who is calling, and a person says that a request is not theirs."""

from __future__ import annotations

import time
import uuid
from dataclasses import dataclass, replace

from pam_iampass.client.status import Status
from pam_iampass.fleet import sessions as declared
from pam_iampass.fleet.results import Ended, Verified
from pam_iampass.gateway.acts.act import Act, Work
from pam_iampass.gateway.acts.names import known
from pam_iampass.gateway.acts.sessions import EndedSessions, end_sessions
from pam_iampass.gateway.base import records
from pam_iampass.gateway.base.gateway import Gateway
from pam_iampass.gateway.base.keys import Tampered
from pam_iampass.gateway.base.reasons import RefusedStart
from pam_iampass.gateway.hosts import hosts
from pam_iampass.gateway.people import people, steps
from pam_iampass.gateway.requests import asking, own_requests, sessions, turns
from pam_iampass.gateway.requests.own_requests import Answer, NotApproved
from pam_iampass.gateway.requests.sessions import HostSession, State
from pam_iampass.gateway.sign_in import sign_ins
from pam_iampass.gateway.sign_in.actors import ActRefused
from pam_iampass.login import throttle
from pam_iampass.login.throttle import RequestResult
from pam_iampass.outcome import Outcome

_CALL = "a call to the help desk"


@dataclass(frozen=True)
class VerifiedCaller:
    """The answer of a person who was asked whether they are calling."""

    made_for: str
    """The mark of this very act, for which alone the answer is good."""
    by: str
    """The name of the actor who has the person asked."""
    remote: str
    sign_in: uuid.UUID | None = None
    """The sign-in of the actor, for which a caller who approves is marked."""
    answer: Answer = Answer.OVER
    why: str = ""
    """Why no phone was asked; empty if one was."""


class VerifyCaller(declared.VerifyCaller, Act[VerifiedCaller]):
    async def change(self, work: Work) -> VerifiedCaller:
        await known(work.gateway, work.connection, self.person)
        by = None
        if work.sign_in is not None:
            by = work.sign_in.id
            await sign_ins.unmark_verified(work.connection, self.person, by)
        work.reason = "the phone is asked"
        return VerifiedCaller(str(uuid.uuid4()), work.actor.name, work.actor.details.get("remote", ""), by)

    async def after(self, gateway: Gateway, done: VerifiedCaller) -> VerifiedCaller:
        session = await own_requests.ask(
            gateway, self.person, _CALL, done.remote, done.made_for, caller=done.by
        )
        if isinstance(session, RefusedStart):
            return replace(done, why=session.why or session.reason.name)
        if session.reason is not None:
            return replace(done, why=session.reason)
        answer = await self._wait(gateway, session, done.made_for)
        if answer is not Answer.APPROVED and done.sign_in is None:
            return replace(done, answer=answer)
        async with gateway.database.transaction() as connection:
            connection.later(people.LOCK, ([done.by, self.person],))
            if done.sign_in is not None:  # another request of this sign-in may have been approved meanwhile
                await sign_ins.unmark_verified(connection, self.person, done.sign_in)
            if answer is Answer.APPROVED:
                try:
                    at = await own_requests.spend(
                        gateway, connection, session.id, self.person, _CALL, done.made_for
                    )
                except NotApproved:
                    return replace(done, answer=Answer.OVER)
                if done.sign_in is not None:
                    await sign_ins.mark_verified(gateway, connection, done.sign_in, self.person, at)
        return replace(done, answer=answer)

    def told(self, done: VerifiedCaller) -> Verified:
        return Verified(done.answer.value, done.why)

    async def _wait(self, gateway: Gateway, session: HostSession, made_for: str) -> Answer:
        until = time.monotonic() + (session.expires_at - session.began_at).total_seconds()
        answer = Answer.of(session)
        while not answer.is_final and (left := until - time.monotonic()) > 0 and not gateway.held.stopping:
            answer = await own_requests.answer(gateway, session.id, made_for, left)
        return answer


class _EndsOne(Act[EndedSessions]):
    """An act by which a person ends one request to them, or one login that was let in by them."""

    async def end(
        self, work: Work, session: str, person: str, what: str, *, of_another: bool
    ) -> EndedSessions:
        """Returns the sessions to end, with an alert that says `what`. The reason of `work` then says how far the
        request or login had come. Raises ActRefused, also unless it is another person's login exactly if `of_another`:
        a host says whose login it is, so an alert must not depend on it."""
        gateway, connection, id = work.gateway, work.connection, uuid.UUID(session)
        before = await turns.locked(connection, person)
        unknown = ActRefused(f"{person} has no such session")
        try:
            locked = await sessions.lock_row(gateway, connection, id)
        except Tampered:
            raise unknown from None
        found = sessions.from_verified(gateway, locked)
        if found.person != person:
            raise unknown
        if found.host_name == hosts.HELPDESK.name:  # a stolen token keeps no help desk from asking its owner
            raise ActRefused("a help desk has you asked", "say so on the phone if you are not calling")
        if found.asker != person and not of_another:
            raise ActRefused(
                f"this is a login of {found.asker}, which you are asked to approve", "decline it instead"
            )
        if found.asker == person and of_another:
            raise ActRefused("this is a login of your own", "say that it is not you, or end it")
        if found.agent:
            what = f"{person} did not approve a login of {found.agent}, which acts for them"
        login = turns.login_of(found.person, found.host_name, found.details, found.id, before.now, before.now)
        if found.waits:
            if not before.state.has_turn(login):
                await turns.write(
                    connection, before, throttle.left(before.state, login, before.now, failed=True)
                )
            ended = [
                await asking.end_waiting_session(
                    gateway, connection, locked, Status.cancelled, Outcome.DENIED
                )
            ]
            how_far = "it waited for its turn"
        elif found.in_progress:
            written = await asking.write_status_once(gateway, connection, found, Status.cancelled)
            ended = [written.session, *written.ringing]
            how_far = "the phone was asked"
        elif found.state is State.OPEN:
            ended = [await sessions.close_row(gateway, connection, locked)]
            state = throttle.decided(
                before.state, login, RequestResult.FAILED, gateway.settings.limits, before.now
            )
            await turns.write(connection, before, state)
            how_far = "it was let in"
        else:
            raise ActRefused("this is over, or has not begun")
        await steps.add_ended_sessions(gateway, connection, [each.id for each in ended])
        whose = f"a login of {found.asker}; " if of_another else ""
        work.host, work.reason = found.host_name, f"{session}; {whose}{how_far}"
        told = {
            name: found.details[name]
            for name in ("asker", "agent", "service", "remote")
            if name in found.details
        }
        await records.alert(connection, found.host_name, what, person=person, session=session, **told)
        return EndedSessions(ended)

    async def after(self, gateway: Gateway, done: EndedSessions) -> EndedSessions:
        return await end_sessions(gateway, done)

    def told(self, done: EndedSessions) -> Ended:
        return Ended(1, len(done.errors))


class DisownSession(declared.DisownSession, _EndsOne):
    async def change(self, work: Work) -> EndedSessions:
        what = f"{self.person} says that a login is not theirs: somebody may have what they log in with"
        return await self.end(work, self.session, self.person, what, of_another=False)


class DeclineSession(declared.DeclineSession, _EndsOne):
    async def change(self, work: Work) -> EndedSessions:
        what = f"{self.person} was asked as a second person, and did not approve the login"
        return await self.end(work, self.session, self.person, what, of_another=True)
