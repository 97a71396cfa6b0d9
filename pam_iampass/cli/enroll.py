"""`pam-iampass enroll`: adds users to IAMPASS and registers their phones.

A user is in the table once IAMPASS knows the token, before the link is shown: until the phone is registered, the user
is denied even with `unlisted_users: ignore`. After an interruption, the same command continues with the same token. A
token made from the user name could be guessed; one made from the name and the application's secret would be equal for
two people of one name on two machines. Nobody enrolls in a login: a thief with a stolen key could register a phone.
"""

from __future__ import annotations

import dataclasses
import enum
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import click

from pam_iampass.cli.enrollment import (
    Enroller,
    EnrollmentRequest,
    Invitation,
    failure_of,
    open_service,
    read_requests,
    require_no_gateway,
    wait,
)
from pam_iampass.cli.output import Row, count, line, progress, show_json, table
from pam_iampass.cli.parameters import (
    USER,
    config_option,
    display_name_option,
    file_option,
    json_option,
    message_option,
    new_device_option,
    sms_option,
    timeout_option,
    token_option,
    wait_option,
)
from pam_iampass.client import IampassError
from pam_iampass.errors import PamIampassError
from pam_iampass.text import one_line

_EPILOG = """\b
Examples:
  pam-iampass enroll alice                          shows a link and a code to scan
  pam-iampass enroll bob --sms "+1 555 123 4567"    sends the link to the phone
  pam-iampass enroll carol --token 91aa-carol       with this token
  pam-iampass enroll alice --new-device             another phone
  pam-iampass enroll --from team.csv                all users in a file
  pam-iampass enroll --from team.csv                again: who has registered a phone?
  pam-iampass enroll --from all.csv --no-account    also users of other machines only

\b
The token is the first of these that exists:
  1. the one given by --token, or by the column `token`
  2. the one in the user table
  3. the one made from the template `unlisted_users` in the settings
  4. a new random one
To use one phone on several machines, give the same token on each.

\b
A file for --from is CSV in UTF-8. Its first line names the columns:
  user,token,phone,display_name
  alice,,+15551234567,Alice A.
  bob,91aa-bob,,
Only `user` is required. Users with a phone number get a message. The report
shows the links of the others. The file must belong to root or you, and must
not be writable by others: it decides whose phone approves whose logins.
After an interruption, or to see who has registered a phone, run the command
again. Users that IAMPASS already knows get a new link only with --resend.

\b
Exit status:
  0    the phone is registered, or the command did not wait for it
  1    something failed, or no phone was registered in time
  2    wrong usage
  130  interrupted; run the same command again to continue
"""


@click.command(epilog=_EPILOG)
@click.argument("user", type=USER, required=False)
@file_option("Enroll all users in this CSV file; see below.")
@token_option
@sms_option
@message_option
@display_name_option
@click.option("--replace", is_flag=True, help="Replace an existing token.")
@new_device_option
@click.option(
    "--resend",
    is_flag=True,
    help="With --from: a new link, or message, also for users that IAMPASS already knows.",
)
@click.option("--no-account", is_flag=True, help="Accept users who have no account on this machine.")
@wait_option("Wait until the phone is registered.  [default: only without --from]")
@timeout_option
@config_option
@json_option
@click.pass_context
def command(
    ctx: click.Context,
    user: str | None,
    file: Path | None,
    token: str | None,
    number: str | None,
    message: str | None,
    display_name: str | None,
    replace: bool,
    new_device: bool,
    resend: bool,
    no_account: bool,
    waits: bool | None,
    timeout: float,
    config: Path,
    as_json: bool,
) -> None:
    """Add USER to IAMPASS and to the user table, and register a phone.

    The command shows the registration link with a QR code, or sends it to the phone (--sms). Anyone who opens the link
    can approve the user's logins: give it only to the user. The command then waits until a phone is registered.

    If the command is interrupted, run it again: it continues with the same token. Logins of the user are denied until a
    phone is registered.
    """
    if (user is None) == (file is None):
        raise click.UsageError("Give a USER, or a file with --from.")
    if file is not None and (token or number or display_name is not None or new_device):
        raise click.UsageError("--token, --sms, --display-name and --new-device require a USER.")
    if user is not None and (resend or (replace and not token)):
        raise click.UsageError("--resend requires --from; --replace requires --token or --from.")
    if message is not None and user is not None and number is None:
        raise click.UsageError("--message requires --sms or --from.")

    require_no_gateway(config)
    waits = file is None if waits is None else waits
    options = EnrollOptions(replace, new_device, resend, message, timeout if waits else 0.0, as_json)
    try:
        requests = () if file is None else read_requests(file)
        service = open_service(config, no_account)
        if file is not None:
            ctx.exit(enroll_many(service, requests, options))
        request = EnrollmentRequest(user or "", token, number, display_name)
        ctx.exit(enroll_one(service, request, options))
    except IampassError as error:
        raise click.ClickException(error.diagnostics()) from None


@dataclass(frozen=True)
class EnrollOptions:
    """How users are enrolled."""

    replace: bool
    new_device: bool
    resend: bool
    message: str | None
    seconds: float
    """How long to wait for phones; 0: not at all."""
    as_json: bool
    mailer: Mailer | None = None
    """Sends the links of people who have a mail address; None: nothing is mailed."""


class NotMailed(PamIampassError):
    """It is certain that a mail was not sent."""


class Mailer(Protocol):
    """Mails links, and remembers that, so that nobody gets two of them."""

    def was_invited(self, user: str) -> bool | None:
        """Whether the user was sent a mail, or has had a phone: None if not, False if that is not known."""

    def begin(self, user: str, address: str, *, again: bool) -> bool:
        """Remember, before `send`, that a mail may have been sent; False if another command has begun meanwhile.
        Raises ClickException.

        :param again: whether the user was invited before.
        """

    def send(self, user: str, address: str, link: str) -> bool:
        """Send the mail and remember it; False if it is not known whether it was sent. Raises NotMailed and
        ClickException."""


# One user


def enroll_one(service: Enroller, request: EnrollmentRequest, options: EnrollOptions) -> int:
    """Enroll one user and report. Returns the exit status. Raises PamIampassError and IampassError."""
    result = service.enroll(request, options.replace)
    user, registered, link = result.user, result.registered, None
    invitation = Invitation(user, request.phone_number, options.as_json, service.command)
    invitation.say(f"{user} is {'new' if result.added else 'already known'} at IAMPASS.")
    invitation.say(result.place)
    invites = not registered or options.new_device
    # If there is a phone already, IAMPASS does not show whether another one is registered.
    waits = bool(options.seconds) and not registered
    if invites:
        link = service.register(result, request, options.message)
        invitation.show(link, waits=waits)
    else:
        invitation.say(f"{user} already has a phone.", "green")
        invitation.say(f"If it is lost: {invitation.command} phone lost {user}")
        invitation.say("To register another one, give --new-device.")
    if waits:
        registered = invitation.wait(service, result.token, options.seconds)
    elif not registered:
        invitation.say_how_to_continue()
    ok = registered or not waits
    if options.as_json:
        show_json(
            {
                "ok": ok,
                "user": user,
                "registered": registered,
                "added": result.added,
                "file": None if result.file is None else str(result.file),
                "link": link,
                "message_to": invitation.number if invites else None,
            }
        )
    return 0 if ok else 1


# Many users


class _State(enum.Enum):
    """How far the enrollment of one user is: for programs, and as the end of a sentence about one and several."""

    REGISTERED = ("registered", "has a phone", "have a phone", "green")
    MESSAGE_SENT = ("message_sent", "was sent a message", "were sent a message", "")
    MAILED = ("mailed", "was sent a mail", "were sent a mail", "")
    MAYBE_MAILED = ("maybe_mailed", "may not have got the mail", "may not have got the mail", "bold yellow")
    NO_PHONE = ("no_phone", "has no phone yet", "have no phone yet", "yellow")
    LINK = ("link", "has a link to open", "have a link to open", "")
    FAILED = ("failed", "failed", "failed", "bold red")
    NOT_TRIED = ("not_tried", "not tried yet", "not tried yet", "yellow")


_INVITED = frozenset({_State.MESSAGE_SENT, _State.MAILED, _State.NO_PHONE, _State.LINK})
"""The states of users who are to register a phone, and need nothing else."""
_WAITED_FOR = _INVITED | {_State.MAYBE_MAILED}
"""The states of users whose phone can be waited for."""


@dataclass(frozen=True)
class _Result:
    """The result of one request."""

    request: EnrollmentRequest
    state: _State = _State.NOT_TRIED
    token: str | None = None
    link: str | None = None
    problem: str | None = None


def enroll_many(service: Enroller, requests: Sequence[EnrollmentRequest], options: EnrollOptions) -> int:
    """Enroll users, wait for their phones, and report. Returns the exit status.

    It ends early where the other users would fail, too. Users whom IAMPASS knew before get no link and no message: that
    makes a second run go on where the first was interrupted. Whoever is to be mailed gets one mail at most, as
    `options.mailer` remembers.
    """
    results = [_Result(request) for request in requests]
    stopped: str | None = None
    interrupted = False
    try:
        with progress(options.as_json) as show:
            for number, request in enumerate(requests):
                show(f"Enrolling {number + 1} of {len(requests)}: {request.user}")
                try:
                    for result in _invite(service, request, options):
                        results[number] = result
                except (PamIampassError, IampassError, click.ClickException) as error:
                    problem, stopped = failure_of(error)
                    maybe = results[number].state is _State.MAYBE_MAILED and not isinstance(error, NotMailed)
                    state = _State.MAYBE_MAILED if maybe else _State.FAILED
                    results[number] = _Result(request, state, problem=problem)
                    if stopped:
                        break
        if options.seconds and not stopped:
            results = _wait_for_many(service, results, options)
    except IampassError as error:
        stopped = one_line(error.diagnostics())
    except KeyboardInterrupt:
        interrupted, stopped = True, "interrupted"
    good = {_State.REGISTERED} if options.seconds else {_State.REGISTERED, *_INVITED}
    ok = not stopped and all(result.state in good for result in results)
    if options.as_json:
        show_json({"ok": ok, "stopped": stopped, "users": [_as_object(result) for result in results]})
    else:
        _report(results, stopped, interrupted)
    return 130 if interrupted else 0 if ok else 1


def _invite(service: Enroller, request: EnrollmentRequest, options: EnrollOptions) -> Iterator[_Result]:
    """Enroll one user, and yield how far that is, once or more. Raises PamIampassError, IampassError and
    ClickException."""
    enrolled = service.enroll(request, options.replace)
    token, user, address = enrolled.token, enrolled.user, request.mail
    mailer = options.mailer if address else None
    invited = mailer.was_invited(user) if mailer else None
    is_due = enrolled.added if mailer is None else invited is None
    if enrolled.registered or not (is_due or options.resend):
        state = _State.NO_PHONE if invited is not False else _State.MAYBE_MAILED
        state = _State.REGISTERED if enrolled.registered else state
        service.record(user, state.value[1])
        yield _Result(request, state, token)
        return
    if mailer:
        request = dataclasses.replace(request, phone_number=None)
    try:
        link = service.register(enrolled, request, options.message)
    except IampassError as error:
        # The next run shall find the user new, unless a message may be under way.
        if enrolled.added and (request.phone_number is None or not error.may_have_started):
            with suppress(IampassError):
                service.delete(token)
        raise
    if not (mailer and address and link):
        yield _Result(request, _State.MESSAGE_SENT if link is None else _State.LINK, token, link)
        return
    begins = mailer.begin(user, address, again=invited is not None)
    yield _Result(request, _State.MAYBE_MAILED, token)
    if begins and mailer.send(user, address, link):
        yield _Result(request, _State.MAILED, token)


def _wait_for_many(service: Enroller, results: Sequence[_Result], options: EnrollOptions) -> list[_Result]:
    """The results after waiting. Raises IampassError."""
    users = {each.token: each.request.user for each in results if each.token and each.state in _WAITED_FOR}
    for each in results:
        if each.state is _State.LINK and not options.as_json:
            line(f"{each.request.user}: {each.link}")
    missing = wait(service, users, options.seconds, options.as_json) if users else set()
    return [
        dataclasses.replace(each, state=_State.REGISTERED)
        if each.token in users and each.token not in missing
        else each
        for each in results
    ]


def _report(results: Sequence[_Result], stopped: str | None, interrupted: bool) -> None:
    table(("LINE", "USER", "STATUS"), [_row(result) for result in results])
    parts = []
    for state in _State:
        _, one, many, _ = state.value
        number = sum(result.state is state for result in results)
        if number:
            parts.append(f"{number:,} {one if number == 1 else many}")
    line(f"{count(len(results), 'user')}: {', '.join(parts)}.")
    states = {result.state for result in results}
    if _State.LINK in states:
        line("Give each link only to its user.")
    if _State.MAYBE_MAILED in states:
        line(
            "Ask the users who may not have got the mail. To send it again: --resend, with a file of these users only"
        )
    if interrupted:
        line(("Interrupted. To continue, run the same command again.", "yellow"))
    elif stopped:
        line((f"Stopped: {stopped}", "bold red"))
        line("When that is fixed, run the same command again to continue.")
    elif states & _INVITED:
        line("Run the same command again to see who has registered a phone. Nobody gets a second link.")
        if _State.NO_PHONE in states:
            line("Users without a phone already got a link. To give them a new link: --resend")


def _row(result: _Result) -> Row:
    request = result.request
    _, one, _, style = result.state.value
    status = {
        _State.MESSAGE_SENT: f"{one}, to {request.phone_number}",
        _State.LINK: f"has to open {result.link}",
        _State.FAILED: f"{one}: {result.problem}",
    }.get(result.state, one)
    return str(request.line), (request.user, "bold"), (status, style)


def _as_object(result: _Result) -> dict[str, object]:
    return {
        "line": result.request.line,
        "user": result.request.user,
        "state": result.state.value[0],
        "link": result.link,
        "problem": result.problem,
    }
