"""`pam-iampass-gateway portal`: sets up the portal on a gateway, and shows how it is."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import click

from pam_iampass.check.report import CheckReport, merged
from pam_iampass.cli import Verbs
from pam_iampass.cli.check import shown as show_report
from pam_iampass.cli.output import Part, fields, line, moment
from pam_iampass.cli.parameters import Parsed, json_option
from pam_iampass.config import value_types
from pam_iampass.config.value_types import InvalidValue
from pam_iampass.errors import Problem, UntrustedFile, shown
from pam_iampass.gateway.acts.passkeys import LinkOperator
from pam_iampass.gateway.base import settings as gateway_settings
from pam_iampass.gateway.base.places import PORTAL_CERTIFICATE, PORTAL_FOLDER, PORTAL_KEY, PORTAL_SOCKET
from pam_iampass.gateway.base.settings import PortalSettings
from pam_iampass.gateway.base.settings_schema import PORTAL
from pam_iampass.gateway.check import examination
from pam_iampass.gateway.cli import command_gateway, config_option
from pam_iampass.gateway.cli.certificate import UNIT
from pam_iampass.gateway.cli.init import setting, show_made
from pam_iampass.gateway.cli.people import NAME
from pam_iampass.gateway.hosts import certificates
from pam_iampass.gateway.people import people
from pam_iampass.setup import files
from pam_iampass.setup.files import Change
from pam_iampass.system import atomic_write, programs

ACTS_SOCKET = "pam-iampass-gateway-acts.socket"
BEHIND_PROXY = "127.0.0.1:8445"
"""Where the portal listens for a proxy on this machine."""
SETTINGS = PORTAL_FOLDER / "portal.yaml"
ADDRESS = Path("/etc/systemd/system", f"{PORTAL_SOCKET}.d/address.conf")
"""The address at which systemd accepts connections for the portal, if it is not port 443."""

_EPILOG = """\b
Examples:
  pam-iampass-gateway portal setup --origin https://iampass.example.com \\
      --certificate /etc/letsencrypt/live/iampass.example.com/fullchain.pem \\
      --key /etc/letsencrypt/live/iampass.example.com/privkey.pem --admin zoe
  pam-iampass-gateway portal status
"""
_FILE = click.Path(exists=True, dir_okay=False, path_type=Path)


def _proxy(text: str) -> str:
    try:
        value_types.network(text)
    except InvalidValue as invalid:
        raise ValueError(f"{invalid.what}: {invalid.remedy}") from None
    return text


@click.group(cls=Verbs, epilog=_EPILOG)
def command() -> None:
    """Set up the portal, where people sign in with passkeys, or show its state.

    The portal is a package of its own (pam-iampass-portal), and runs on a gateway. It is off until it is set up.
    """


@command.command(epilog=_EPILOG, short_help="Set up the portal on this gateway.")
@click.option(
    "--origin",
    required=True,
    type=setting("origin", PORTAL.keys),
    help="The address of the portal. Its name must serve nothing else.",
)
@click.option(
    "--certificate", type=_FILE, help="Its certificate (PEM), followed by those of intermediate CAs."
)
@click.option("--key", type=_FILE, help="The private key of the certificate (PEM).")
@click.option(
    "--proxy",
    "proxies",
    multiple=True,
    type=Parsed("address", _proxy),
    metavar="ADDRESS",
    help="Instead of both: the address of a proxy that has the certificate and connects to the portal. Can be "
    "repeated.",
)
@click.option(
    "--listen",
    type=setting("listen"),
    help=f"Where the portal listens.  [default: the port of the origin; with --proxy, {BEHIND_PROXY}]",
)
@click.option("--admin", type=NAME, help="Print a link with which this person registers a passkey.")
@config_option
def setup(
    origin: str,
    certificate: Path | None,
    key: Path | None,
    proxies: tuple[str, ...],
    listen: tuple[str, int] | str | None,
    admin: str | None,
    config: Path,
) -> None:
    """Set up the portal on this gateway, and start it.

    The command first checks that browsers would trust the certificate. The certificate must match the key, name the
    host of the origin, be valid today, and come from a CA that this system trusts. Only root may be able to change
    certificate, key and their folders. Both files stay there, and the portal has links to them. After a renewal,
    restart pam-iampass-portal.

    Then it adds `portal` to gateway.yaml, writes or replaces /etc/iampass-portal/portal.yaml, and restarts the gateway.
    Logins that wait continue. If the command fails, repeat it. Passkeys are bound to the name of the origin: if the
    gateway has another origin, nothing is changed.

    --admin is for a person in a group of `operators.admin`. Anyone who has the link can use it, unless the person has a
    phone and must approve. Send it in a way that only this person can read.

    The exit status is 0, or 1 if it failed.
    """
    _require_machine()
    own = PortalSettings(origin)
    is_encrypted = origin.startswith("https:") and not proxies
    if is_encrypted:
        _require_certificate(own, certificate, key)
    elif certificate or key:
        raise click.UsageError("Give --certificate and --key only if the portal itself is called by https.")
    if admin is not None:
        _require_admin(config, admin)
    _write_gateway(config, own)
    for link, target in ((PORTAL_CERTIFICATE, certificate), (PORTAL_KEY, key)):
        _link(link, target)
    proxied = f"proxy: [{', '.join(f'{each!r}' for each in proxies)}]\n" if proxies else ""
    text = f"# Settings of the portal: portal.yaml(5).\norigin: {origin}\n{proxied}"
    files.write(SETTINGS, text.encode(), 0o644)
    show_made(SETTINGS, "the portal's settings", made=True)
    checked = programs.run(["pam-iampass-portal", "check"])
    if not checked.ok:
        raise click.ClickException("\n".join(checked.lines))
    _write_address(listen, origin, behind_proxy=bool(proxies))
    _start()
    _require_no_error(examination.portal(own))
    line(("Done.", "green"), f" People sign in at {origin}")
    if admin is not None:
        with command_gateway(config) as gateway:
            made = gateway.perform(LinkOperator(admin))
        line(f"Until {moment(made.expires_at.timestamp())}, ", (admin, "bold"), " can register a passkey at:")
        line(f"  {made.url}")


@command.command(epilog=_EPILOG, short_help="Show the state of the portal.")
@config_option
@json_option
@click.pass_context
def status(ctx: click.Context, config: Path, as_json: bool) -> None:
    """Show whether the portal of this gateway is set up, answers, and has a certificate that browsers trust and only
    root can replace.

    `pam-iampass-gateway check` checks the same. The exit status is 1 if there is an error, 3 if there are only
    warnings, and 0 otherwise.
    """
    own = gateway_settings.load(config).portal
    if own is None or not SETTINGS.exists():
        what = "`portal` is not in gateway.yaml" if own is None else f"{SETTINGS} does not exist"
        raise click.ClickException(f"{what}: set it up with pam-iampass-gateway portal setup")
    if not as_json:
        shown_fields: list[tuple[str, Part]] = [("origin", own.origin)]
        with suppress(UntrustedFile, ValueError):  # behind a proxy there is none; else it is a finding
            until = certificates.expiry(certificates.read_trusted(PORTAL_CERTIFICATE))
            shown_fields.append(("certificate", f"valid until {until:%F}"))
        fields(shown_fields)
    report = CheckReport(tuple(merged(examination.portal(own))), (), ("portal",))
    ctx.exit(show_report(report, as_json=as_json))


def _require_machine() -> None:
    """Raises ClickException if nothing can be set up here."""
    if os.geteuid() != 0:
        raise click.ClickException("this writes root's files: run it as root")
    if programs.find("pam-iampass-portal") is None:
        raise click.ClickException(
            "pam-iampass-portal is not installed: install the package pam-iampass-portal"
        )


def _require_certificate(own: PortalSettings, certificate: Path | None, key: Path | None) -> None:
    """Raises ClickException if browsers would not trust them, or others could read the key or exchange them."""
    if certificate is None or key is None:
        raise click.UsageError("Give --certificate and --key, or --proxy.")
    _require_no_error(examination.portal_files(own, certificate, key))


def _require_no_error(found: Iterable[Problem]) -> None:
    """Raises ClickException with what is wrong."""
    wrong = [each for each in found if each.is_error]
    if wrong:
        raise click.ClickException(
            "\n".join(f"{each.what}\n    {each.evidence}\n    {each.remedy}" for each in wrong)
        )


def _require_admin(config: Path, name: str) -> None:
    """Raises ClickException if the settings make no admin of this person."""
    with command_gateway(config) as gateway:
        person = gateway.reading(lambda gateway, connection: people.find(gateway, connection, name))
        if person is None or not person.active:
            raise click.ClickException(
                f"{shown(name)} is not known here: pam-iampass-gateway user add {name}"
            )
        if "admin" not in gateway.settings.operators.roles_of(person.groups):
            groups = ", ".join(sorted(person.groups)) or "none"
            raise click.ClickException(
                f"{shown(name)} has no group of `operators.admin` in gateway.yaml (has: {groups})\n"
                "    write for example operators: {admin: [it]} there, and: "
                f"pam-iampass-gateway user add {name} --group it"
            )


def _write_gateway(config: Path, own: PortalSettings) -> None:
    """Add `portal` to the gateway's settings, and leave everything else as it is.

    Raises ClickException if they have another origin, or if that cannot be added without changing anything else.
    """
    before = gateway_settings.load(config)
    if before.portal is not None:
        if before.portal != own:
            what = f"{config} has another origin: {before.portal.origin}"
            raise click.ClickException(
                f"{what}\n    With a new origin, all passkeys stop working. To change it anyway, edit this file first."
            )
        show_made(config, "the origin of the portal", made=False)
        return
    now = files.take(config)
    for text in _with_portal(files.text_of(now.content), own.origin):
        change = Change(config, now, replace(now, content=files.content_of(text)))
        files.prepare([change])
        found, _ = gateway_settings.check(files.temporary(config))
        if found == replace(before, portal=own):
            change.commit()
            show_made(config, "the origin of the portal", made=True)
            return
        files.remove_temporary([config])
    what = f"{config}: the origin of the portal cannot be added without other changes"
    raise click.ClickException(f"{what}\n    add this line: portal: {{origin: {own.origin}}}")


def _with_portal(text: str, origin: str) -> Iterator[str]:
    """The settings with the key: above the comments of `init` about it, or at the end."""
    added = f"portal: {{origin: {origin}}}\n"
    yield re.sub("^# portal:$", lambda found: added + found[0], text, count=1, flags=re.MULTILINE)
    yield f"{text.rstrip()}\n{added}"


def _link(link: Path, target: Path | None) -> None:
    """Lead to a file where the unit looks for it; without a file there is no link. A renewal is seen through it."""
    PORTAL_FOLDER.mkdir(mode=0o755, exist_ok=True)
    if target is not None and target.absolute() == link:
        return
    if target is None:
        link.unlink(missing_ok=True)
        return
    new = files.temporary(link)
    new.unlink(missing_ok=True)
    new.symlink_to(target.absolute())
    with atomic_write.open_folder(link.parent) as folder:
        atomic_write.rename(folder, new.name, link.name)
    show_made(link, f"leads to {target.absolute()}", made=True)


def _write_address(listen: tuple[str, int] | str | None, origin: str, *, behind_proxy: bool) -> None:
    """Have systemd listen at an address that is not port 443 of all addresses."""
    port = re.search(":([0-9]+)$", origin)
    default = BEHIND_PROXY if behind_proxy else port[1] if port else "443"
    address = str(listen or default)
    if address == "443":
        ADDRESS.unlink(missing_ok=True)
        return
    ADDRESS.parent.mkdir(parents=True, exist_ok=True)
    text = (
        f"# Written by pam-iampass-gateway portal setup.\n[Socket]\nListenStream=\nListenStream={address}\n"
    )
    files.write(ADDRESS, text.encode(), 0o644)
    show_made(ADDRESS, f"the portal listens at {address}", made=True)


def _start() -> None:
    """Start both services and their sockets, now and at each boot, so that they read the settings as they are now,
    whatever an earlier attempt has left. Raises ClickException."""
    if not files.SYSTEMD.exists():
        raise click.ClickException(f"systemd does not run here: it starts {PORTAL_SOCKET} and {ACTS_SOCKET}")
    service = PORTAL_SOCKET.replace(".socket", ".service")
    for words in (
        ["daemon-reload"],
        ["restart", UNIT],
        ["enable", "--now", ACTS_SOCKET],
        ["enable", PORTAL_SOCKET],
        ["stop", service],
        ["restart", PORTAL_SOCKET],
        ["start", service],
    ):
        done = programs.run(["systemctl", *words], timeout=120.0)
        if not done.ok:
            raise click.ClickException(f"systemctl {' '.join(words)}: {done.complaint}")
