"""`pam-iampass enroll --from FILE`."""

from __future__ import annotations

from pathlib import Path

from pam_iampass.cli.enroll_waiting import wait
from pam_iampass.cli.output import Row, count, line, progress, show_json, table
from pam_iampass.client import IampassError
from pam_iampass.enrollment.batch import INVITED, Batch, BatchResult, BatchState
from pam_iampass.enrollment.sent_messages import SentMessages

_STATES = {
    BatchState.REGISTERED: ("has a phone", "have a phone", "green"),
    BatchState.MESSAGE_SENT: ("was sent a message", "were sent a message", ""),
    BatchState.MESSAGE_SENT_BEFORE: ("was sent a message before", "were sent a message before", ""),
    BatchState.LINK: ("has a link to open", "have a link to open", ""),
    BatchState.FAILED: ("failed", "failed", "bold red"),
    BatchState.NOT_TRIED: ("not tried yet", "not tried yet", "yellow"),
}
"""Each state as the end of a sentence about one user and about several, and its style."""


def enroll_many(batch: Batch, file: Path, seconds: float, as_json: bool) -> int:
    """Enroll the users in `file`, wait for their phones for so many seconds, and report. Returns the exit status.

    Raises EditRefused if it cannot begin.
    """
    interrupted = False
    with SentMessages(file) as sent:
        try:
            with progress(as_json) as show:
                results = batch.results
                batch.run(
                    sent,
                    lambda number: show(
                        f"Enrolling {number + 1} of {len(results)}: {results[number].request.user}"
                    ),
                )
            if seconds and batch.invited and not batch.stopped:
                _wait(batch, seconds, as_json)
        except KeyboardInterrupt:
            interrupted, batch.stopped = True, "interrupted"
        good = {BatchState.REGISTERED} if seconds else {BatchState.REGISTERED, *INVITED}
        ok = not batch.stopped and batch.all_in(good)
        if as_json:
            users = [_as_object(result) for result in batch.results]
            show_json({"ok": ok, "stopped": batch.stopped, "users": users})
        else:
            _report(batch, interrupted)
        if batch.all_in({BatchState.REGISTERED}):
            sent.delete()
    return 130 if interrupted else 0 if ok else 1


def _wait(batch: Batch, seconds: float, as_json: bool) -> None:
    users = batch.invited
    for result in batch.results:
        if result.state is BatchState.LINK and not as_json:
            line(f"{result.request.user}: {result.link}")
    try:
        missing = wait(batch.manager, users, seconds, as_json)
    except IampassError as error:
        batch.stop(error)
    else:
        batch.mark_registered(users.keys() - missing)


def _report(batch: Batch, interrupted: bool) -> None:
    results = batch.results
    table(("LINE", "USER", "STATUS"), [_row(result) for result in results])
    parts = []
    for state, (one, many, _) in _STATES.items():
        number = sum(result.state is state for result in results)
        if number:
            parts.append(f"{number:,} {one if number == 1 else many}")
    line(f"{count(len(results), 'user')}: {', '.join(parts)}.")
    if any(result.state is BatchState.LINK for result in results):
        line("Give each link to its user, and to nobody else.")
    if interrupted:
        line(("Interrupted. To continue, run the same command again.", "yellow"))
    elif batch.stopped:
        line((f"Stopped: {batch.stopped}", "bold red"))
        line("When that is fixed, run the same command again to continue.")
    elif batch.invited:
        line("Run the same command again to see who has registered a phone. No message is sent twice.")


def _row(result: BatchResult) -> Row:
    request = result.request
    one, _, style = _STATES[result.state]
    status = {
        BatchState.MESSAGE_SENT: f"{one}, to {request.phone_number}",
        BatchState.MESSAGE_SENT_BEFORE: f"{one}, to {request.phone_number}; no phone yet",
        BatchState.LINK: f"has to open {result.link}",
        BatchState.FAILED: f"{one}: {result.problem}",
    }.get(result.state, one)
    return str(request.line), (request.user, "bold"), (status, style)


def _as_object(result: BatchResult) -> dict[str, object]:
    return {
        "line": result.request.line,
        "user": result.request.user,
        "state": result.state.value,
        "link": result.link,
        "problem": result.problem,
    }
