"""What users do on the phone and when, and how sshd continues."""

from __future__ import annotations

from collections.abc import Iterator

from tests.client.talk import polled
from tests.faults.stacks import OURS, PERMIT, UNIX
from tests.support.deadline import DEADLINE
from tests.support.faults.case import AUTH_ERR, KILLED, MAXTRIES, Case, Expected, Play, Requests
from tests.support.faults.expected import (
    APPROVED,
    DENIED,
    NO_DEVICE,
    timed_out,
)
from tests.support.faults.place import at_once, killed_meanwhile
from tests.support.faults.server import ACTIVE, ENDED, PENDING, sandbox, scripted
from tests.support.faults.ssh import ELSEWHERE, by_ssh

AT_DEADLINE = {"timeout": f"{DEADLINE}s"}
#: The response is complete three seconds after the poll.
SLOW = ACTIVE.dripping(head=3.0 / len(ACTIVE.head))
UNANSWERED = polled("pending")


def table() -> Iterator[Case]:
    """All rows."""
    once = Requests(1, 1, 1)
    yield Case("the user approves", APPROVED, sandbox("approve", delay=0.5))
    yield Case("the user denies", DENIED, sandbox("deny", delay=0.5))
    yield Case("the user does not respond", timed_out(), sandbox("ignore"), AT_DEADLINE)
    yield Case(
        "the user does not respond, and each response takes a second",
        timed_out(),
        scripted(PENDING, ENDED, always={"GET": UNANSWERED.dripping(head=1.0 / len(UNANSWERED.head))}),
        AT_DEADLINE,
    )
    yield Case("the user has no phone", NO_DEVICE, sandbox(device=False))
    yield Case(
        "the user approves, and the response takes three seconds",
        APPROVED.but(within=6.0),
        scripted(PENDING, ENDED, always={"GET": SLOW}),
    )
    yield Case(
        "the user approves after the deadline", timed_out(), sandbox(delay=DEADLINE + 0.1), AT_DEADLINE
    )
    yield Case(
        "the user denies, then approves",
        DENIED.but(requests=once),
        scripted(PENDING, polled("cancelled"), ENDED, ACTIVE),
    )
    yield Case(
        "the user approves, then denies",
        APPROVED.but(requests=once),
        scripted(PENDING, ACTIVE, ENDED, polled("cancelled")),
    )
    yield Case(
        "the user is in the status `identifying`, then approves",
        APPROVED.but(requests=Requests(1, 2, 1), also="Your phone is checking that it is you."),
        scripted(PENDING, polled("identifying"), ACTIVE, ENDED),
    )
    yield Case(
        "the application is killed while the request is pending",
        Expected(KILLED, "cancelled", "denied", "", Requests(1, None, 1, least=0)),
        sandbox("ask"),
        {"timeout": "30s"},
        play=killed_meanwhile,
        about_pam=True,
    )
    two = APPROVED.but(requests=Requests(2, None, 2))
    yield Case("two users log in at the same time", two, sandbox(), play=at_once, people=2)
    late = APPROVED.but(requests=Requests(10, None, 10), within=8.0)
    yield Case(
        "ten users log in at the same time",
        late,
        sandbox(delay=0.5),
        play=at_once,
        people=10,
    )
    yield from _by_sshd()


#: After a password, and without one.
AFTER_A_PASSWORD = (f"auth requisite {UNIX}", OURS, PERMIT, *ELSEWHERE)
ALONE_IN_THE_STACK = (OURS, PERMIT, *ELSEWHERE)

#: sshd continues the login without a message.
GETS_IN = APPROVED.but(message="")


def _by_sshd() -> Iterator[Case]:
    for method in ("keyboard-interactive", "password"):
        # In sshd's `password` method the user sees messages only if the module succeeds.
        denied = DENIED.but(code=MAXTRIES, message="" if method == "password" else DENIED.message)
        for does, expected in (("approve", GETS_IN), ("deny", denied)):
            yield _ssh(
                f"the ssh method is {method}, and the user {'approves' if does == 'approve' else 'denies'}",
                expected,
                by_ssh(method),
                AFTER_A_PASSWORD,
                does,
            )
    yield from _root()


def _root() -> Iterator[Case]:
    """sshd refuses root even after PAM succeeded. It replaces the typed answer by one of the same length, so an empty
    answer stays empty and the module cannot detect the refusal."""
    stopped, pretended = Expected(AUTH_ERR, "", ""), Expected(MAXTRIES, "cancelled", "denied")
    for permission in ("yes", "prohibit-password", "no"):
        option = f"PermitRootLogin={permission}"
        what = f"root logs in under `PermitRootLogin {permission}`"
        root = by_ssh("keyboard-interactive", option, root=True)
        may = permission == "yes"
        yield _ssh(f"{what}, by password and phone", GETS_IN if may else stopped, root, AFTER_A_PASSWORD)
        for_nothing = GETS_IN.but(code=AUTH_ERR)
        yield _ssh(f"{what}, by phone", GETS_IN if may else for_nothing, root, ALONE_IN_THE_STACK)
        types = by_ssh("keyboard-interactive", option, root=True, typed="please")
        yield _ssh(
            f"{what}, by phone, and types a word", GETS_IN if may else pretended, types, ALONE_IN_THE_STACK
        )


def _ssh(what: str, expected: Expected, play: Play, stack: tuple[str, ...], auto: str = "approve") -> Case:
    return Case(
        what,
        expected.but(within=8.0),
        sandbox(auto, delay=0.3),
        play=play,
        stack=stack,
    )
