"""`pam-iampass-gateway init`: everything that a gateway needs. What is there already stays."""

from __future__ import annotations

import os
import pwd
import secrets
import socket
import sys
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

import click

from pam_iampass.cli import output
from pam_iampass.cli.parameters import Parsed
from pam_iampass.client.errors import IampassError, Refused
from pam_iampass.config.schema import Key, KeyOrSection
from pam_iampass.config.value_types import InvalidValue
from pam_iampass.config.yaml_document import MappingNode, SequenceNode, parse
from pam_iampass.errors import ConfigurationError
from pam_iampass.gateway.base import settings as gateway_settings
from pam_iampass.gateway.base import settings_schema
from pam_iampass.gateway.base.database import Database, migrate
from pam_iampass.gateway.base.gateway import management, opened
from pam_iampass.gateway.base.keys import Tampered
from pam_iampass.gateway.base.places import ACCOUNT
from pam_iampass.gateway.base.settings import DEFAULT_GROUP, KEY_BYTES, GatewaySettings
from pam_iampass.gateway.check import readable, restored
from pam_iampass.gateway.cli import config_option, in_loop
from pam_iampass.gateway.cli.certificate import CA_KEY, UNIT, renew
from pam_iampass.gateway.hosts import certificates
from pam_iampass.setup import files
from pam_iampass.system import programs

LOCAL_DATABASE = "iampass"


def setting(name: str, keys: Sequence[KeyOrSection] = settings_schema.SCHEMA) -> Parsed:
    """A value of an option that is written to the settings."""
    key = next(key for key in keys if key.name == name)
    assert isinstance(key, Key)  # noqa: S101

    def read(text: str) -> str:
        try:
            key.type.read(text)
        except InvalidValue as invalid:
            if invalid.value is not None:
                raise click.BadParameter(f"{invalid.value!r} {invalid.what}: {invalid.remedy}") from None
            raise ValueError(f"{invalid.what}: {invalid.remedy}") from None
        return text

    return Parsed(name, read)


@click.command("init")
@click.option(
    "--name",
    "names",
    multiple=True,
    type=setting("names"),
    help="A name or address by which hosts call the gateway; invites contain the first. Can be repeated.  "
    "[default: the host name of this machine, with its domain]",
)
@click.option(
    "--database",
    type=setting("database"),
    help="A connection string of libpq.  [default: a new database iampass in the PostgreSQL of this machine]",
)
@click.option(
    "--application-id", type=setting("application_id"), help="The id of your application at IAMPASS."
)
@click.option(
    "--secret-file",
    type=click.Path(path_type=Path, allow_dash=True),
    help="A file with the application's secret, or - for standard input.  [default: you are asked]",
)
@click.option("--listen", type=setting("listen"), help="The address to serve hosts on.")
@click.option("--server", type=setting("server"), help="The IAMPASS server.")
@click.option(
    "--server-ca-file", type=setting("server_ca_file"), help="CA certificates (PEM) for the IAMPASS server."
)
@click.option("--proxy", type=setting("proxy"), help="The proxy for connections to IAMPASS.")
@config_option
def command(config: Path, secret_file: Path | None, **given: str | tuple[str, ...] | None) -> None:
    """Make the database, the key, the CA, the gateway's certificate and the settings.

    Existing parts stay unchanged. Repeat the command after an error, or to see what is missing. If PostgreSQL runs on
    this machine, init makes the database and its role as the account postgres. Any other database must exist, with a
    role that owns it.

    Keep a copy of the key elsewhere: without the key, a backup of the database is useless. With both, an attacker has
    the fleet.

    The exit status is 0, or 1 if something is missing.
    """
    if os.geteuid() != 0:
        raise click.ClickException("this makes root's files: run it as root")
    try:
        pwd.getpwnam(ACCOUNT)
    except KeyError:
        raise click.ClickException(f"there is no account {ACCOUNT}: run systemd-sysusers") from None
    folder = config.parent
    folder.mkdir(mode=0o755, exist_ok=True)
    new_secret = _write_secret(folder / "application-secret", secret_file)
    new_key = _write_key(folder / "key")
    names = _names(config, given)
    authority = _write_authority(folder, names[0])
    _write_settings(config, {**given, "names": names})
    renewed = _write_certificate(folder, names, authority)
    settings = gateway_settings.load(config)
    unreadable = readable.problems(config, settings)
    if unreadable:
        raise ConfigurationError(unreadable)
    if settings.database == f"dbname={LOCAL_DATABASE}":
        _make_local_database()
    if not _make_tables(settings):
        if new_key:
            (folder / "key").unlink()
        what = f"the database was made with another key: restore {folder / 'key'} from your backup"
        raise click.ClickException(what)
    try:
        _require_application(settings)
    except Refused as refused:
        if new_secret:
            (folder / "application-secret").unlink()
        again = (
            "run init again"
            if new_secret
            else f"correct {folder / 'application-secret'}, then run init again"
        )
        raise click.ClickException(f"IAMPASS: {refused.diagnostics()}\n    Then {again}.") from None
    _start(renewed)
    output.line(("Done.", "green"), " To let a host join: pam-iampass-gateway host invite")


def show_made(path: Path | str, what: str, *, made: bool) -> None:
    """Print that something was made, or was there before."""
    output.line(("made   " if made else "there  ", "green" if made else ""), f"{path}: {what}")


def _write_secret(path: Path, source: Path | None) -> bool:
    """Whether the secret is new."""
    if path.exists():
        show_made(path, "the application's secret", made=False)
        return False
    if source is not None:
        text = sys.stdin.readline() if str(source) == "-" else source.read_text("utf-8")
    elif sys.stdin.isatty():
        text = click.prompt(
            "The secret of your application at IAMPASS (not shown)", hide_input=True, err=True
        )
    else:
        raise click.UsageError("Give the application's secret by --secret-file.")
    secret = text.strip()
    if not secret or not secret.isprintable():
        raise click.ClickException("the application's secret is empty, or more than one line")
    files.write(path, f"{secret}\n".encode())
    show_made(path, "the application's secret", made=True)
    return True


def _write_key(path: Path) -> bool:
    """Whether the key is new."""
    new = not path.exists()
    if new:
        files.write(path, f"{secrets.token_hex(KEY_BYTES)}\n".encode())
    show_made(path, "the key file of the database; keep a copy elsewhere", made=new)
    return new


def _names(config: Path, given: dict[str, str | tuple[str, ...] | None]) -> Sequence[str]:
    """The names in the settings; without settings, the given ones."""
    if config.exists():
        root = parse(config.read_bytes(), config).root
        for key, value in root.entries if isinstance(root, MappingNode) else ():
            if key.text == "names" and isinstance(value, SequenceNode) and value.items:
                return [str(getattr(item, "text", "")) for item in value.items]
    return list(given["names"] or [socket.getfqdn().lower()])


def _write_authority(folder: Path, fleet: str) -> Path:
    """The file of the CA's certificate."""
    certificate, key = folder / "ca.pem", folder / CA_KEY
    new = not certificate.exists()
    if new:
        made = certificates.new_authority(fleet)
        files.write(key, made.key)
        files.write(certificate, made.certificate, 0o644)
    show_made(
        certificate,
        "the fleet's CA, valid until " + f"{certificates.expiry(certificate.read_bytes()):%F}",
        made=new,
    )
    return certificate


def _write_settings(config: Path, given: dict[str, object]) -> None:
    if config.exists():
        show_made(config, "the settings", made=False)
        return
    values = {name: value for name, value in given.items() if value is not None}
    if "application_id" not in values:
        if not sys.stdin.isatty():
            raise click.UsageError("Give --application-id.")
        values["application_id"] = click.prompt(
            "The id of your application at IAMPASS", type=setting("application_id"), err=True
        )
    values["groups"] = {DEFAULT_GROUP: {"everybody": True}}
    files.write(config, settings_schema.template(values).encode(), 0o644)
    show_made(config, "the settings", made=True)


def _write_certificate(folder: Path, names: Sequence[str], ca_file: Path) -> bool:
    """Whether the certificate is new."""
    certificate = folder / "certificate.pem"
    authority = ca_file.read_bytes()
    due = (
        certificates.is_due(certificate.read_bytes(), names, authority)
        if certificate.exists()
        else "is missing"
    )
    if due is not None:
        renew(folder / CA_KEY, ca_file, names, certificate, folder / "certificate-key.pem")
    until = certificates.expiry(certificate.read_bytes())
    show_made(
        certificate, f"the certificate of {', '.join(names)}, valid until {until:%F}", made=due is not None
    )
    return due is not None


def _make_local_database() -> None:
    """The role of the service and its database, made by the account postgres. Raises ClickException."""

    def as_postgres(*command: str) -> str:
        done = programs.run(["runuser", "-u", "postgres", "--", *command])
        if not done.ok:
            raise click.ClickException(
                f"{command[0]}: {done.complaint}\n    Install PostgreSQL (apt install postgresql) and start it, "
                "or name another database with --database."
            )
        return done.output.strip()

    query = ("psql", "-XtAqd", "postgres", "-c")
    role = not as_postgres(*query, f"SELECT 1 FROM pg_roles WHERE rolname = '{ACCOUNT}'")  # noqa: S608
    if role:
        as_postgres("createuser", "--no-superuser", "--no-createdb", "--no-createrole", ACCOUNT)
    show_made(ACCOUNT, "the role in PostgreSQL", made=role)
    missing = not as_postgres(*query, f"SELECT 1 FROM pg_database WHERE datname = '{LOCAL_DATABASE}'")  # noqa: S608
    if missing:
        as_postgres("createdb", "-O", ACCOUNT, "-E", "UTF8", "-T", "template0", LOCAL_DATABASE)
    # A role that can connect can take the locks of people, and all connections.
    as_postgres(*query, f"REVOKE CONNECT ON DATABASE {LOCAL_DATABASE} FROM PUBLIC")
    show_made(LOCAL_DATABASE, "the database", made=missing)


def _make_tables(settings: GatewaySettings) -> bool:
    """Make the tables, and the row that says whose they are; whether they are ours, and not of another key."""

    async def go() -> bool:
        async with Database(settings.database, connections=1) as database:
            before, version = await migrate(database)
        show_made("tables", f"version {version}", made=before != version)
        async with opened(settings) as gateway, gateway.database.transaction() as connection:
            await restored.begin(gateway, connection)
            with suppress(Tampered):
                return bool(await restored.current(gateway, connection))
            return False

    return in_loop(go())


def _require_application(settings: GatewaySettings) -> None:
    """Raises Refused for a secret that IAMPASS does not take, and ClickException unless it knows the application."""
    api = management(settings)
    try:
        known = api.knows_application()
    except Refused:
        raise
    except IampassError as error:
        raise click.ClickException(f"IAMPASS: {error.diagnostics()}\n    Then run init again.") from None
    if not known:
        what = f"{settings.server} does not know the application {settings.application_id}"
        raise click.ClickException(
            f"{what}: correct application_id or server in gateway.yaml, then run init again"
        )
    output.line(("ok     ", "green"), f"{settings.server} knows the application {settings.application_id}")


def _start(renewed: bool) -> None:
    """Start the service, or restart it for a new certificate, where systemd runs and has its unit."""
    if not files.SYSTEMD.exists() or not programs.run(["systemctl", "cat", UNIT]).ok:
        output.line("To serve hosts: pam-iampass-gateway serve")
        return
    for verb in ("enable", "restart" if renewed else "start"):
        done = programs.run(["systemctl", verb, UNIT])
        if not done.ok:
            raise click.ClickException(f"systemctl {verb} {UNIT}: {done.complaint}")
    output.line(("ok     ", "green"), f"{UNIT} runs")
