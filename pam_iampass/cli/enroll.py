"""`pam-iampass enroll`: makes users known to IAMPASS, and gets their phones registered."""

from __future__ import annotations

import dataclasses
import platform
from pathlib import Path

import click

from pam_iampass.cli.enroll_options import DisplayName, Duration, PhoneNumber
from pam_iampass.cli.user_name import USER
from pam_iampass.config.settings import DEFAULT_PATH
from pam_iampass.enrollment.request import Applicant

_EPILOG = """\b
Examples:
  pam-iampass enroll alice                          shows a link and a code to scan
  pam-iampass enroll bob --sms "+1 555 123 4567"    sends the link to the phone
  pam-iampass enroll carol --token 91aa-carol       with a token of your choice
  pam-iampass enroll alice --new-device             one more phone, or a new one
  pam-iampass enroll --from team.csv                everybody in a file
  pam-iampass enroll --from team.csv                again: who has registered by now?

\b
The token is, in this order:
  1. that of --token, or of the column `token`;
  2. the one that the table of users has;
  3. what the template of `unlisted_users` in the settings makes of the name;
  4. a new random one.
To let a person use one phone on several machines, give the same token on each.

\b
A file for --from is CSV in UTF-8; its first line names the columns:
  user,token,phone,display_name
  alice,,+15551234567,Alice A.
  bob,91aa-bob,,
Only `user` must be there. Who has a phone number is sent a message, the others'
links are in the report. The file must be root's or yours, and not writable by
others: it says whose phone approves whose logins. Next to it, in FILE.sent,
stands who was sent a message, so that nobody gets it twice, until everybody
has a phone.

\b
Exit status:
  0    done: the phone is registered, or was not to be waited for
  1    something failed, or no phone was registered in time
  2    wrong usage
  130  interrupted; the same command again goes on from there
"""


@click.command(epilog=_EPILOG, short_help="Add users at IAMPASS and register their phones.")
@click.argument("user", type=USER, required=False)
@click.option(
    "--from",
    "file",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    metavar="FILE",
    help="Enrol everybody in this CSV file; see below.",
)
@click.option(
    "--token", help="The user's IAMPASS token; others on this machine can see it in the list of processes."
)
@click.option(
    "--sms", "number", type=PhoneNumber(), help="Send the link to this phone instead of showing it."
)
@click.option("--message", help="What the message says in front of the link.")
@click.option(
    "--display-name",
    type=DisplayName(),
    help="What the IAMPASS app shows to the person.  [default: USER@MACHINE]",
)
@click.option("--replace", is_flag=True, help="Give a new token to who has another one.")
@click.option("--new-device", is_flag=True, help="Register a phone although there is one; is not waited for.")
@click.option("--resend", is_flag=True, help="With --from: send a message also to who was sent one before.")
@click.option(
    "--wait/--no-wait",
    "waits",
    default=None,
    help="Wait until the phone is registered.  [default: wait for one user, not with --from]",
)
@click.option(
    "--timeout", type=Duration(), default="10m", show_default=True, help="How long to wait: 90s, 10m, 2h."
)
@click.option(
    "--config",
    type=click.Path(path_type=Path, readable=False),
    default=DEFAULT_PATH,
    show_default=True,
    help="The settings to read; the table of users is the one that they name.",
)
@click.option("--json", "as_json", is_flag=True, help="Write one JSON object instead of text.")
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
    waits: bool | None,
    timeout: float,
    config: Path,
    as_json: bool,
) -> None:
    """Add USER at IAMPASS where missing, put the token into the table of users, and get a phone registered.

    The registration link is shown, with a QR code that a phone's camera reads, or sent to the phone (--sms).
    Whoever opens the link can approve the user's logins: show it to nobody else. Then it is waited until a
    phone is registered.

    The user stands in the table from the start, so that an interruption loses nothing: logins are denied until
    the phone is registered. Doing it again goes on with the same token.
    """
    if (user is None) == (file is None):
        raise click.UsageError("Give a USER, or a file with --from.")
    if file is not None and (token or number or display_name is not None or new_device):
        raise click.UsageError("--token, --sms, --display-name and --new-device are for one USER.")
    if user is not None and (resend or (replace and not token)):
        raise click.UsageError("--resend goes with --from, --replace with --token or --from.")
    if message is not None and user is not None and number is None:
        raise click.UsageError("--message goes with --sms or --from.")

    from pam_iampass.client import IampassError
    from pam_iampass.enrollment.service import open_office

    try:
        if user is not None:
            from pam_iampass.cli import enroll_one as one

            seconds = 0.0 if waits is False else timeout
            office = open_office(config.absolute())
            applicant = _named(Applicant(office.account(user), token, number, display_name))
            wishes = one.Wishes(replace, new_device, message, seconds, as_json)
            ctx.exit(one.enroll_one(office, applicant, wishes))
        elif file is not None:
            from pam_iampass.cli import enroll_many as many
            from pam_iampass.enrollment.requests_file import read_applicants

            applicants = [_named(applicant) for applicant in read_applicants(file)]
            office = open_office(config.absolute())
            several = many.Wishes(replace, resend, message, timeout if waits else 0.0, as_json)
            ctx.exit(many.Batch(office, file, applicants, several).run())
    except IampassError as error:
        raise click.ClickException(error.diagnostics()) from None


def _named(applicant: Applicant) -> Applicant:
    """The same, with the name that the app shows by default."""
    if applicant.display_name is not None:
        return applicant
    return dataclasses.replace(applicant, display_name=f"{applicant.user}@{platform.node()}")
