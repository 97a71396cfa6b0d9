"""The problems of PAM files: stacks that lead past the phone or in which it fails, and programs that call no stack."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from pathlib import Path

from pam_iampass.check.catalogue import finding
from pam_iampass.check.machine import Machine
from pam_iampass.check.stacks import Stacks
from pam_iampass.config.settings import same_program
from pam_iampass.errors import Problem, Severity, shown
from pam_iampass.login.context import ModuleArguments
from pam_iampass.pam.modules import ALWAYS, asks_always, is_ours, is_pam_python, own_arguments
from pam_iampass.pam.services import UNPRIVILEGED
from pam_iampass.pam.stack import Handler, HandlerKind, PamService, PamType, UnusableService


def findings(machine: Machine) -> Iterator[Problem]:
    """Everything that is wrong with the stacks of the machine. Raises OSError."""
    yield from of_stacks(machine.stacks, machine.sshd_service)
    machine.not_checked += machine.stacks.unread


def of_stacks(stacks: Stacks, sshd_service: str | None) -> Iterator[Problem]:
    """Everything that is wrong. `sshd_service` is the PAM service of sshd. Raises OSError."""
    for name, service in stacks.services.items():
        if isinstance(service, UnusableService):
            if any("pam_iampass" in text for text in stacks.files.texts(name)):
                yield finding("pam-broken", name, str(service))
        else:
            yield from _of_service(stacks, name, service, sshd_service)
    if not stacks.with_us and sshd_service not in stacks.with_us_in_account:
        yield finding("nothing-asks", "pam", f"{len(stacks.services)} services were checked")


def of_services(names: Sequence[str], stacks: Stacks) -> Iterator[Problem]:
    """Yields the PAM lines that lead some services past the phone, or make approved logins fail."""
    for name in names:
        yield from stacks.lost_refusals(name)
        yield from unauthenticated(name, stacks.files.folders[0].parent)
        if name in stacks.with_us:
            yield from stacks.with_us[name].findings(fresh_setcred=name == "sshd")
        if name in stacks.with_us_in_account and (name == "sshd" or stacks.asks_always(name)):
            yield from stacks.with_us_in_account[name].findings()


def _of_service(
    stacks: Stacks, name: str, service: PamService, sshd_service: str | None
) -> Iterator[Problem]:
    counts = name == sshd_service or stacks.asks_always(name)
    in_account = stacks.with_us_in_account.get(name) if counts else None
    yield from stacks.lost_refusals(name)
    if in_account is not None:
        yield from _modules(stacks, name, in_account.stack)
        yield from in_account.findings()
    if name not in stacks.with_us:
        if in_account is not None:
            return
        in_session = service.stacks[PamType.SESSION]  # a service may have it from a file that it includes
        elsewhere = [one for one in service.handlers if is_ours(one) and one not in in_session]
        if elsewhere:
            yield finding("stack-no-auth", name, str(elsewhere[0]), place=elsewhere[0].place)
        return
    for error in service.errors:
        yield finding("pam-broken", name, error, Severity.WARNING)
    if UNPRIVILEGED.names.fullmatch(name):
        yield finding("stack-unprivileged", name, str(stacks.with_us[name].ours), service=name)
    yield from _modules(stacks, name, service.stacks[PamType.AUTH])
    yield from stacks.with_us[name].findings(fresh_setcred=name == sshd_service)
    if name != sshd_service and stacks.with_us[name].phone_alone and not stacks.with_us[name].demands_key:
        yield finding("stack-phone-only", name, str(stacks.with_us[name].ours))


def _modules(stacks: Stacks, name: str, stack: Sequence[Handler]) -> Iterator[Problem]:
    missing = stacks.missing(stack)
    for handler in dict.fromkeys(one for one in stack if one.kind is HandlerKind.MODULE):
        if handler.path in missing and (is_ours(handler) or not handler.text.startswith("-")):
            severity = None if is_ours(handler) else Severity.WARNING
            yield finding("module-missing", name, str(handler), severity, module=handler.name)
        if is_ours(handler):
            yield from _of_our_line(stacks, name, handler)


def _of_our_line(stacks: Stacks, name: str, handler: Handler) -> Iterator[Problem]:
    unknown = ModuleArguments.parse(["pam_iampass", *own_arguments(handler)]).unknown
    stack = stacks.account_stack(name) if same_program(name) == "sudo" else ()
    if asks_always(handler) and handler not in stack:
        unknown = (*unknown, ALWAYS)
    if unknown:
        yield finding("module-argument", name, str(handler), arguments=", ".join(map(shown, unknown)))
    if is_pam_python(handler):
        script = Path(handler.arguments[0])
        if not script.is_file():
            yield finding("module-missing", name, str(handler), module=script.name)
        if name in stacks.set_uid:
            yield finding("pam-python-set-uid", name, str(handler), place=handler.place)


def unauthenticated(name: str, etc: Path) -> Iterator[Problem]:
    """The logins through a PAM service that never reach its `auth` lines, and so never the phone.

    Whether such logins of cockpit are possible depends on its settings below `etc`.
    """
    remedies: dict[str, str] = {}
    if name == "tigervnc":
        remedies["with a password of VNC"] = "let VNC listen on this machine only, and reach it by ssh"
    elif name == "cockpit":
        file = etc / "cockpit/cockpit.conf"
        settings = _of_cockpit(file)
        certificates = settings.get(("webservice", "clientcertauthentication"), "").lower()
        if _has_keytab(etc) and settings.get(("negotiate", "action")) != "none":
            remedies["with a Kerberos ticket"] = f"in {file}, below [negotiate]: action = none"
        if certificates in ("yes", "true", "1") and settings.get(("tls-cert", "action")) != "none":
            remedies["with a client certificate"] = f"in {file}: ClientCertAuthentication = false"
    severity = Severity.ERROR if name == "cockpit" else Severity.WARNING
    for how, remedy in remedies.items():
        evidence = f"its program opens the session {how} without pam_authenticate"
        yield finding("stack-not-called", name, evidence, severity, service=name, how=how, remedy=remedy)


def _has_keytab(etc: Path) -> bool:
    """Whether cockpit may find a keytab, without which it accepts no ticket. krb5.conf(5) can name another one."""
    files = [etc / "krb5.conf", *(etc / "krb5.conf.d").glob("*")]
    named = any(
        "default_keytab_name" in file.read_text("utf-8", "replace") for file in files if file.is_file()
    )
    return named or any((etc / keytab).exists() for keytab in ("cockpit/krb5.keytab", "krb5.keytab"))


def _of_cockpit(file: Path) -> dict[tuple[str, str], str]:
    """The settings of cockpit.conf(5) by section and key, in lower case.

    As cockpit reads them: a file with an invalid line is not heeded at all, and a value goes on to the end of its line.
    """
    settings, section = {}, ""
    text = file.read_bytes().decode("utf-8", "replace") if file.is_file() else ""
    for line in text.split("\n"):
        if found := re.fullmatch(r"\s*\[([^][\0-\x1f]+)\]\s*", line, re.ASCII):
            section = found[1].lower()
        elif section and (found := re.fullmatch(r"\s*([A-Za-z0-9-]+)\s*=\s*(.*)", line, re.ASCII)):
            settings[section, found[1].lower()] = found[2]
        elif not re.fullmatch(r"\s*(#.*)?", line, re.ASCII):
            return {}
    return settings
