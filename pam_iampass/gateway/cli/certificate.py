"""`pam-iampass-gateway certificate`: the certificate with which a gateway serves hosts."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import click

from pam_iampass.cli import Verbs, output
from pam_iampass.cli.parameters import json_option
from pam_iampass.gateway.base import settings as gateway_settings
from pam_iampass.gateway.cli import config_option
from pam_iampass.gateway.hosts import certificates
from pam_iampass.gateway.hosts.certificates import Certified
from pam_iampass.setup import files
from pam_iampass.system import programs

UNIT = "pam-iampass-gateway.service"
CA_KEY = "ca-key.pem"
"""The private key of the fleet's CA, beside gateway.yaml unless it was moved away."""


@click.group(cls=Verbs)
def command() -> None:
    """Show or renew the certificate with which this gateway serves hosts.

    The certificate comes from the fleet's own CA. Its private key, ca-key.pem beside gateway.yaml, is needed only for
    renewals. You can keep the key elsewhere: anyone who has it can pose as the gateway to every host.
    """


@command.command(short_help="Show until when the certificate is valid.")
@json_option
@config_option
def show(config: Path, as_json: bool) -> None:
    """Show the gateway's certificate, and whether it is due for renewal.

    The exit status is 0, or 1 if it is due.
    """
    settings = gateway_settings.load(config)
    certificate, authority = settings.certificate_file.read_bytes(), settings.ca_file.read_bytes()
    until, due = certificates.expiry(certificate), certificates.is_due(certificate, settings.names, authority)
    if as_json:
        output.show_json(
            {
                "names": settings.names,
                "expires": output.timestamp(until.timestamp()),
                "due": due,
                "ca_expires": output.timestamp(certificates.expiry(authority).timestamp()),
                "ca_fingerprint": certificates.fingerprint(authority),
            }
        )
    else:
        output.line(f"{settings.certificate_file}: {', '.join(settings.names)}, valid until {until:%F}")
        if due:
            output.line(
                ("It is due: ", "bold yellow"),
                f"it {due}. To renew it: pam-iampass-gateway certificate renew",
            )
    if due:
        raise click.exceptions.Exit(1)


@command.command("renew", short_help="Make a new certificate.")
@click.option(
    "--if-due",
    is_flag=True,
    help="Only if the certificate expires within 90 days, or lacks a name of the settings.",
)
@click.option("--restart", is_flag=True, help="Restart the service if the certificate is new.")
@click.option(
    "--ca-key",
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    help="The private key of the fleet's CA.  [default: ca-key.pem beside the settings]",
)
@config_option
def renew_command(config: Path, if_due: bool, restart: bool, ca_key: Path | None) -> None:
    """Make a new certificate with a new key for the names in the settings. Hosts need no change.

    Restart the service to use the new certificate. If the CA's key is beside the settings, a timer runs this daily with
    --if-due --restart.

    The exit status is 0, or 1 if there is no new certificate.
    """
    settings = gateway_settings.load(config)
    if if_due:
        authority = settings.ca_file.read_bytes()
        if not certificates.is_due(settings.certificate_file.read_bytes(), settings.names, authority):
            output.line("The certificate is not due for renewal.")
            return
    key_file = config.parent / settings.certificate_key_file.name
    renew(
        ca_key or config.parent / CA_KEY,
        settings.ca_file,
        settings.names,
        settings.certificate_file,
        key_file,
    )
    until = certificates.expiry(settings.certificate_file.read_bytes())
    output.line(("Done.", "green"), f" Valid until {until:%F}.")
    command = ["systemctl", "try-restart", UNIT]
    if not restart:
        output.line(f"Now: {' '.join(command)}")
    elif not programs.run(command).ok:
        raise click.ClickException(f"the service still uses the old certificate: {' '.join(command)} failed")


def renew(ca_key: Path, ca_file: Path, names: Sequence[str], certificate: Path, key: Path) -> None:
    """Write a new certificate and its key. Raises ClickException without the CA's key."""
    try:
        authority = Certified(ca_file.read_bytes(), ca_key.read_bytes())
        made = certificates.new_certificate(names, authority)
    except FileNotFoundError:
        what = f"{ca_key}: the key of the fleet's CA is missing; copy it there, or name it with --ca-key"
        raise click.ClickException(what) from None
    except ValueError as error:
        raise click.ClickException(f"{ca_key}: {error}") from None
    files.write(key, made.key)
    files.write(certificate, made.certificate, 0o644)
