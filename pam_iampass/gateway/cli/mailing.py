"""Registration links by mail, each person one at most: what was given to sendmail is remembered before and after.

`sendmail` is the program of that name that mail servers install (the Linux Standard Base has it). A row in `mailed` is
committed before it is run: whatever stops this command then, nobody is sent a second mail by itself. The log has the
domain of an address, not the address, and never the link.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from email.message import EmailMessage
from email.policy import default
from email.utils import localtime, make_msgid

from pam_iampass.cli.enroll import NotMailed
from pam_iampass.cli.enrollment import EnrollmentRequest
from pam_iampass.errors import EditRefused
from pam_iampass.gateway.acts.names import known
from pam_iampass.gateway.base import records
from pam_iampass.gateway.base.connection import Connection
from pam_iampass.gateway.base.gateway import Gateway
from pam_iampass.gateway.base.statements import one
from pam_iampass.gateway.cli import CommandGateway
from pam_iampass.system import programs

_SECONDS = 60.0
"""How long sendmail may take: some hand the mail to another machine at once."""
_QUEUED_PERHAPS = 75
"""EX_TEMPFAIL of sysexits.h: by its manual, sendmail has queued the mail; that of other mail servers has not."""
_POLICY = default.clone(max_line_length=990, cte_type="7bit")
"""Lines that hold a link whole (RFC 5321 allows 998 characters), in ASCII, which every server takes."""

_TEXT = """\
Hello {user},

logins to the hosts of {gateway} will ask your phone. To register it, open
this link on the phone:

    {link}

The link is only for you: anyone who opens it can approve logins in your name.
Do not forward it, and do not open it for somebody else.

If you did not expect this mail, or if somebody else has used the link, tell
your administrators at once.
"""


@dataclass(frozen=True)
class SendmailMailer:
    """Sends links through the sendmail of this machine, as Mailer says."""

    gateway: CommandGateway
    sender: str | None
    """The address from which mails come; None for what sendmail makes it."""
    message: str | None
    """The first paragraph of each mail."""

    def was_invited(self, user: str) -> bool | None:
        """As Mailer says."""

        async def read(gateway: Gateway, connection: Connection) -> bool | None:
            row = await one(connection, "SELECT taken_at FROM mailed WHERE person = %s", user)
            if row is not None:
                return row["taken_at"] is not None
            person = await known(gateway, connection, user)
            # Whoever has the phone that was lost may read the person's mail with it.
            return True if person.had_phone or person.phone_lost_at is not None else None

        return self.gateway.reading(read)

    def begin(self, user: str, address: str, *, again: bool) -> bool:
        """As Mailer says."""
        conflict = "UPDATE SET began_at = now(), taken_at = NULL" if again else "NOTHING"

        async def write(_: Gateway, connection: Connection) -> bool:
            statement = "INSERT INTO mailed VALUES (%s, now(), NULL) ON CONFLICT (person) DO"
            cursor = await connection.execute(f"{statement} {conflict}".encode(), (user,))
            if cursor.rowcount:
                where = address.rpartition("@")[2]
                await self._record(connection, user, f"sendmail is given the link, for an address at {where}")
            return cursor.rowcount > 0

        return self.gateway.transaction(write)

    def send(self, user: str, address: str, link: str) -> bool:
        """As Mailer says."""
        sender = [] if self.sender is None else ["-f", self.sender]
        try:
            found = programs.run(
                ["sendmail", "-i", *sender, "--", address],
                _SECONDS,
                stdin=bytes(self.mail(user, address, link)),
            )
        except programs.CommandOverdue:
            self._note(user, None, "sendmail has not ended in time")
            return False
        except programs.CommandUnavailable as error:
            self._note(user, False, "sendmail cannot be run")
            raise NotMailed(error.what, error.remedy) from None
        if found.ok:
            self._note(user, True)
            return True
        status = f"exit status {found.status}"
        if found.status < 0 or found.status == _QUEUED_PERHAPS:
            self._note(user, None, f"sendmail has ended with {status}")
            return False
        self._note(user, False, f"sendmail has not taken it: {status}")
        raise NotMailed(f"sendmail did not accept the mail: {found.complaint}", "run the same command again")

    def mail(self, user: str, address: str, link: str) -> EmailMessage:
        """The mail with a link."""
        gateway = self.gateway.settings.names[0]
        mail = EmailMessage(_POLICY)
        if self.sender is not None:
            mail["From"] = self.sender
        mail["To"] = address
        mail["Subject"] = "Register your phone for logins"
        mail["Date"] = localtime()
        mail["Message-ID"] = make_msgid(domain=gateway)
        mail["Auto-Submitted"] = "auto-generated"
        text = _TEXT.format(user=user, gateway=gateway, link=link)
        mail.set_content(f"{self.message}\n\n{text}" if self.message else text)
        return mail

    def _note(self, user: str, taken: bool | None, what: str = "") -> None:
        """Remember whether sendmail has taken the mail; None if that is not known."""

        async def write(_: Gateway, connection: Connection) -> None:
            if taken:
                connection.later("UPDATE mailed SET taken_at = now() WHERE person = %s", (user,))
            elif taken is False:
                connection.later("DELETE FROM mailed WHERE person = %s", (user,))
            if what:
                await self._record(connection, user, what)

        self.gateway.transaction(write)

    async def _record(self, connection: Connection, user: str, what: str) -> None:
        await records.act(connection, "enroll", person=user, reason=what)


def mailer(
    gateway: CommandGateway, requests: Sequence[EnrollmentRequest], sender: str | None, message: str | None
) -> SendmailMailer:
    """The mailer for these requests. Raises EditRefused if nobody can be sent a mail."""
    if not any(request.mail for request in requests):
        raise EditRefused("no line of the file has a mail address", "write a column mail: alice@example.com")
    if programs.find("sendmail") is None:
        remedy = "install a mail server, or a program that hands mails to one, such as msmtp-mta"
        raise EditRefused("there is no sendmail on this machine", remedy)
    try:
        (message or "").encode()
    except UnicodeEncodeError:  # a mail with it could not be made, once it is remembered
        raise EditRefused("--message is not UTF-8", "type it in a terminal in UTF-8") from None
    return SendmailMailer(gateway, sender, message)
