"""`pam-iampass enroll`: adds users to IAMPASS and registers their phones."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import click

from pam_iampass.cli.parameters import (
    USER,
    config_option,
    display_name_option,
    json_option,
    message_option,
    sms_option,
    timeout_option,
    token_option,
)
from pam_iampass.enrollment.request import EnrollmentRequest, default_display_name

_EPILOG = """\b
Examples:
  pam-iampass enroll alice                          shows a link and a code to scan
  pam-iampass enroll bob --sms "+1 555 123 4567"    sends the link to the phone
  pam-iampass enroll carol --token 91aa-carol       with this token
  pam-iampass enroll alice --new-device             another phone
  pam-iampass enroll --from team.csv                all users in a file
  pam-iampass enroll --from team.csv                again: who has registered a phone?

\b
The token is the first of these that exists:
  1. the one given by --token, or by the column `token`
  2. the one in the user table
  3. the one that the template `unlisted_users` in the settings makes of the name
  4. a new random one
To use one phone on several machines, give the same token on each.

\b
A file for --from is CSV in UTF-8. Its first line names the columns:
  user,token,phone,display_name
  alice,,+15551234567,Alice A.
  bob,91aa-bob,,
Only `user` is required. Users with a phone number are sent a message; for the
others the report has the links. The file must belong to root or you, and must
not be writable by others: it decides whose phone approves whose logins. FILE.sent
records the messages sent, so that none is sent twice. It is deleted when all
users have a phone.

\b
Exit status:
  0    done: the phone is registered, or was not waited for
  1    something failed, or no phone was registered in time
  2    wrong usage
  130  interrupted; run the same command again to continue
"""


@click.command(epilog=_EPILOG)
@click.argument("user", type=USER, required=False)
@click.option(
    "--from",
    "file",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    metavar="FILE",
    help="Enroll all users in this CSV file; see below.",
)
@token_option
@sms_option
@message_option
@display_name_option
@click.option("--replace", is_flag=True, help="Replace an existing token.")
@click.option("--new-device", is_flag=True, help="Register another phone. Does not wait for it.")
@click.option("--resend", is_flag=True, help="With --from: send messages again, also to users who got one.")
@click.option(
    "--wait/--no-wait",
    "waits",
    default=None,
    help="Wait until the phone is registered.  [default: wait for one user, not with --from]",
)
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
    waits: bool | None,
    timeout: float,
    config: Path,
    as_json: bool,
) -> None:
    """Add USER to IAMPASS and to the user table, and register a phone.

    The registration link is shown, with a QR code for the camera of the phone, or sent to the phone (--sms). Anyone
    who opens the link can approve the user's logins: show it to nobody else. The command then waits until a phone is
    registered.

    The user is added to the table first, so that an interruption loses nothing: logins are denied until a phone is
    registered. Run the command again to continue with the same token.
    """
    if (user is None) == (file is None):
        raise click.UsageError("Give a USER, or a file with --from.")
    if file is not None and (token or number or display_name is not None or new_device):
        raise click.UsageError("--token, --sms, --display-name and --new-device require a USER.")
    if user is not None and (resend or (replace and not token)):
        raise click.UsageError("--resend requires --from; --replace requires --token or --from.")
    if message is not None and user is not None and number is None:
        raise click.UsageError("--message requires --sms or --from.")

    from pam_iampass.client import IampassError
    from pam_iampass.enrollment.service import open_service

    try:
        if user is not None:
            from pam_iampass.cli import enroll_one as one

            service = open_service(config)
            request = _named(EnrollmentRequest(service.account(user), token, number, display_name))
            options = one.EnrollOptions(
                replace, new_device, message, 0.0 if waits is False else timeout, as_json
            )
            ctx.exit(one.enroll_one(service, request, options))
        elif file is not None:
            from pam_iampass.cli.enroll_many import enroll_many
            from pam_iampass.enrollment.batch import Batch
            from pam_iampass.enrollment.requests_file import read_requests

            requests = [_named(request) for request in read_requests(file)]
            service = open_service(config)
            batch = Batch(service, requests, replace=replace, resend=resend, message=message)
            ctx.exit(enroll_many(batch, file, timeout if waits else 0.0, as_json))
    except IampassError as error:
        raise click.ClickException(error.diagnostics()) from None


def _named(request: EnrollmentRequest) -> EnrollmentRequest:
    """The request with the default display name, if it has none."""
    if request.display_name is not None:
        return request
    return dataclasses.replace(request, display_name=default_display_name(request.user))
