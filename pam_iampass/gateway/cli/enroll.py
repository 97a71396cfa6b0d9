"""`pam-iampass-gateway enroll`: adds people and registers their phones."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar

import click

from pam_iampass.cli.enroll import EnrollOptions, enroll_many, enroll_one
from pam_iampass.cli.enrollment import (
    EnrollmentRequest,
    EnrollmentResult,
    read_requests,
)
from pam_iampass.cli.parameters import (
    Parsed,
    file_option,
    json_option,
    message_option,
    new_device_option,
    sms_option,
    timeout_option,
    wait_option,
)
from pam_iampass.client import IampassError
from pam_iampass.config.value_types import mail_address
from pam_iampass.gateway.acts.phones import EnrollPhone, require_no_lost_phone
from pam_iampass.gateway.base import records
from pam_iampass.gateway.cli import CommandGateway, command_gateway, config_option
from pam_iampass.gateway.cli.mailing import mailer
from pam_iampass.gateway.cli.people import (
    COLUMNS,
    NAME,
    Given,
    add_or_change,
    display_name_option,
    group_option,
    groups_of,
    known_to,
    warn_of_groups,
)

_EPILOG = """\b
Examples:
  pam-iampass-gateway enroll alice --group staff            shows a link and a code to scan
  pam-iampass-gateway enroll bob --sms "+1 555 123 4567"    sends the link to the phone
  pam-iampass-gateway enroll alice --new-device             another phone
  pam-iampass-gateway enroll --from team.csv                all people in a file
  pam-iampass-gateway enroll --from team.csv                again: who has registered a phone?
  pam-iampass-gateway enroll --from team.csv --mail         sends the links by mail

\b
A file for --from is CSV in UTF-8. Its first line names the columns:
  user,display_name,phone,groups,mail
  alice,Alice A.,+15551234567,staff|oncall,alice@example.com
  bob,,,staff,
Only `user` is required. --group adds a group to the groups of each line. People
with a phone number get a message. The report shows the links of the others.
The file must belong to root or you, and must not be writable by others: it
decides whose phone approves whose logins.
After an interruption, or to see who has registered a phone, run the command
again. People that IAMPASS already knows get a new link only with --resend.

\b
With --mail, the sendmail of this machine sends one mail with the link to each
person who has an address but no phone, also if IAMPASS already knows them.
Anyone who reads the mail can register the phone: mailboxes must be safe.
If the command was stopped while it sent a mail, it names the person who may
not have got it. That person, and people who reported their phone lost, get a
mail only with --resend.

\b
Exit status:
  0    the phone is registered, or the command did not wait for it
  1    something failed, or no phone was registered in time
  2    wrong usage
  130  interrupted; run the same command again to continue
"""


@click.command(epilog=_EPILOG)
@click.argument("user", type=NAME, required=False)
@file_option("Enroll all people in this CSV file; see below.")
@group_option
@sms_option
@click.option("--send", is_flag=True, help="Send the link to the person's stored phone number.")
@message_option
@click.option("--mail", "mails", is_flag=True, help="With --from: send the links by mail; see below.")
@click.option(
    "--sender",
    type=Parsed("address", mail_address),
    help="With --mail: the address that mails come from.  [default: sendmail's]",
)
@display_name_option
@click.option("--replace", is_flag=True, help="Change groups, name and phone number of existing people.")
@new_device_option
@click.option(
    "--resend",
    is_flag=True,
    help="With --from: a new link, or message, also for people that IAMPASS already knows.",
)
@wait_option("Wait until the phone is registered.  [default: only without --from]")
@timeout_option
@config_option
@json_option
@click.pass_context
def command(
    ctx: click.Context,
    user: str | None,
    file: Path | None,
    groups: tuple[str, ...],
    number: str | None,
    send: bool,
    message: str | None,
    mails: bool,
    sender: str | None,
    display_name: str | None,
    replace: bool,
    new_device: bool,
    resend: bool,
    waits: bool | None,
    timeout: float,
    config: Path,
    as_json: bool,
) -> None:
    """Add USER on the gateway and at IAMPASS, and register a phone.

    The command shows the registration link with a QR code, or sends it to the phone (--sms, --send). Anyone who opens
    the link can approve the user's logins: give it only to the user. The command then waits until a phone is
    registered.

    USER is the name of the person's account on the hosts. No account is needed here. If the command is interrupted, run
    it again: it continues with the same token. Logins of the user are denied until a phone is registered.
    """
    if (user is None) == (file is None):
        raise click.UsageError("Give a USER, or a file with --from.")
    if file is not None and (number or send or display_name is not None or new_device):
        raise click.UsageError("--sms, --send, --display-name and --new-device require a USER.")
    if user is not None and (resend or mails):
        raise click.UsageError("--resend and --mail require --from.")
    if sender is not None and not mails:
        raise click.UsageError("--sender requires --mail.")
    if number is not None and send:
        raise click.UsageError("--sms and --send exclude each other.")
    if message is not None and user is not None and not (number or send):
        raise click.UsageError("--message requires --sms, --send or --from.")

    waits = file is None if waits is None else waits
    options = EnrollOptions(replace, new_device, resend, message, timeout if waits else 0.0, as_json)
    requests = [] if file is None else read_requests(file, columns=COLUMNS)
    if groups:
        requests = [
            dataclasses.replace(each, groups=tuple(dict.fromkeys((*(each.groups or ()), *groups))))
            for each in requests
        ]
    with command_gateway(config) as gateway:
        enroller = GatewayEnroller(gateway)
        try:
            if file is not None:
                if mails:
                    by = mailer(gateway, requests, sender, message)
                    options = dataclasses.replace(options, mailer=by)
                ctx.exit(enroll_many(enroller, requests, options))
            if send:
                number = _number(gateway, user or "")
            request = EnrollmentRequest(user or "", None, number, display_name, groups=groups or None)
            ctx.exit(enroll_one(enroller, request, options))
        except IampassError as error:
            raise click.ClickException(error.diagnostics()) from None


@dataclass(frozen=True)
class GatewayEnroller:
    """Enrolls people at a gateway."""

    gateway: CommandGateway
    warned_of: set[tuple[str, ...]] = field(default_factory=set)
    """The groups of people that were looked at."""
    command: ClassVar[str] = "pam-iampass-gateway"

    def enroll(self, request: EnrollmentRequest, replace: bool) -> EnrollmentResult:
        """Add the person here and at IAMPASS, if that was not done yet. Raises PamIampassError and IampassError."""
        given = Given(request.groups, request.display_name, request.phone_number)
        person, new = add_or_change(self.gateway, request.user, given, replace)
        require_no_lost_phone(person)
        added = new or self._add(person.token)
        registered = not added and self.gateway.has_phone(person.token)
        if person.groups not in self.warned_of:
            self.warned_of.add(person.groups)
            warn_of_groups(self.gateway.settings, person.groups)
        place = f"{person.name} is {'new' if new else 'known'} here: {groups_of(person.groups)}."
        return EnrollmentResult(person.name, person.token, added, registered, place)

    def register(self, user: EnrollmentResult, request: EnrollmentRequest, message: str | None) -> str | None:
        """As Enroller says."""
        number, name = request.phone_number or "", request.display_name or ""
        return self.gateway.perform(EnrollPhone(user.user, number, message or "", name)).url

    def has_phone(self, token: str, seconds: float) -> bool:
        """As Enroller says."""
        return self.gateway.has_phone(token, seconds)

    def delete(self, token: str) -> None:
        """As Enroller says."""
        self.gateway.call(self.gateway.application.delete_users([token]))

    def record(self, user: str, what: str) -> None:
        """As Enroller says."""
        self.gateway.transaction(lambda _, c: records.act(c, "enroll", person=user, reason=what))

    def _add(self, token: str) -> bool:
        """Add a person at IAMPASS; whether it did not know them. Raises IampassError."""
        created, _ = self.gateway.call(self.gateway.application.add_users([token]))
        return bool(created)


def _number(gateway: CommandGateway, user: str) -> str:
    found = known_to(gateway, user).phone_number
    if found is None:
        raise click.ClickException(f"no phone number of {user} is known; give it with --sms")
    return found
