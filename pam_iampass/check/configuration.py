"""Reads the configuration as the module would, and collects everything that is wrong with it."""

from __future__ import annotations

import grp
import ipaddress
import json
import os
import pwd
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence, Set
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

from pam_iampass.check import keys, sessions, switched_off
from pam_iampass.check.catalogue import finding
from pam_iampass.check.machine import ConfigReport, Machine
from pam_iampass.check.pam_files import unauthenticated
from pam_iampass.check.shut_out import shut_out
from pam_iampass.check.sshd import DROP_IN, SET_UP, SSHD_MARGIN, outdated
from pam_iampass.check.stacks import Stacks, module_folders
from pam_iampass.config import settings, user_table
from pam_iampass.config.user_table import user_of
from pam_iampass.config.value_types import Approver, Network, SecondPerson, exempt_rule
from pam_iampass.errors import (
    RUN_AS_ROOT,
    ConfigurationError,
    MissingFile,
    Problem,
    Severity,
    UnreadableFile,
    UntrustedFile,
    shown,
)
from pam_iampass.login import policy
from pam_iampass.login.context import ModuleArguments
from pam_iampass.outcome import Login
from pam_iampass.pam.modules import our_lines, own_arguments
from pam_iampass.pam.services import USES, not_asking
from pam_iampass.pam.stack import FOLDERS, OTHER, PamFiles, PamType, UnusableService, dialect
from pam_iampass.system import paths, sshd, trusted_file
from pam_iampass.system.accounts import Accounts, LookupFailed, UnknownAccount
from pam_iampass.system.programs import CommandUnavailable
from pam_iampass.system.service_user import SERVICE_USER, others_in_group, reading_as
from pam_iampass.system.trusted_file import (
    ACCESS_LIST,
    access_list_remedy,
    has_access_list,
    others_with_access,
    readers_remedy,
)
from pam_iampass.system.trusted_folder import mode_of
from pam_iampass.text import clean, names

_TWICE = "pam-auth-update --disable iampass iampass-session, or pam-iampass setup undo"
_MOST_NAMES = 5  # in a sentence
_OWN_NETWORKS = tuple(map(ipaddress.ip_network, ("127.0.0.0/8", "::1/128", "::ffff:127.0.0.0/104")))
NOT_ROOT = "was checked by a user who may be unable to read the secret and other files"


def findings(machine: Machine) -> Iterator[Problem]:
    """The problems of the settings. What other subjects know better is left to them: the grace time of each sshd, and
    which of two secrets IAMPASS accepts."""
    report = machine.report = check_config(machine.config)
    elsewhere = {"sshd-grace-short"} if machine.offline else {"sshd-grace-short", "previous-secret-left"}
    for problem in report.problems:
        if problem.remedy == RUN_AS_ROOT:
            if NOT_ROOT not in str(problem):
                machine.not_checked.append(str(problem))
        elif problem.evidence:
            yield problem
        elif problem.kind not in elsewhere:
            usual = "configuration-error" if problem.is_error else "configuration-warning"
            place = f"{problem.file}:{problem.line}" if problem.line else str(problem.file)
            named = not problem.key or problem.key in problem.what
            what = problem.what if named else f"{problem.key} {problem.what}"
            yield finding(problem.kind or usual, "configuration", place, what=what, remedy=problem.remedy)


def check_config(
    config: Path,
    module_user: str = SERVICE_USER,
    sshd_program: str = sshd.SSHD,
    pam_folders: Sequence[Path] = FOLDERS,
    manifest: Path = Path(paths.SETUP_STATE, "manifest.json"),
    *,
    services: bool = False,
) -> ConfigReport:
    """Check the settings in `config`, the table that they name, and what in PAM files and sshd contradicts them.

    `manifest` is what `setup` has recorded. `services`: also whether the services that use these settings ask the
    phone, at which `examine` and setup look themselves. Raises nothing that the files can cause.
    """
    table = None
    with reading_as(module_user) as readers:
        examination = settings.check(config, readers=readers)
        if examination.users is not None:
            joined = bool(examination.settings and examination.settings.gateways)
            table = user_table.check(examination.users, optional=joined, joined=joined)
    problems = [*examination.problems, *(table.problems if table else ())]
    files = PamFiles(pam_folders, dialect())
    denies_nobody: list[Problem] = []
    if examination.settings is not None:
        problems += _advice(config, examination.lines)
        problems += rescue_problems(examination.settings, files)
        in_force = _sshd(sshd_program)
        problems += _grace_time(config, examination.settings, in_force)
        problems += _siblings(config, examination.settings)
        problems += _previous_secret(config, examination.settings)
        problems += _exceptions(config, examination.settings)
        problems += _second_people(config, examination.settings)
        problems += _no_connection_covered(config, examination.settings, files)
        denies_nobody += _services(config, examination.settings, examination.lines, in_force, files)
        if table is not None:
            problems += _exempt_agents(examination.settings, table)
            problems += keys.denying(config, examination.settings, table, files, in_force.service)
            problems += keys.shared_with_token(examination.settings, table, in_force)
            problems += keys.second_people(config, examination.settings, table, files)
        denies_nobody += keys.unasked(config, examination.settings, in_force.service)
        problems += keys.no_connection_covered(config, examination.settings)
        denies_nobody += _su_to_root(config, examination.settings)
        denies_nobody += _approved_login(
            config, examination.settings, examination.lines, in_force.service, files
        )
        denies_nobody += sessions.remembered(files.usable(), examination.settings, in_force.service)
    denies_nobody += _switched_off(manifest, files)
    denies_nobody += _asked_twice(files)
    denies_nobody += _not_called(files)
    if services:
        unasked = _unasked(config, examination.settings, files)
        denies_nobody += [one for one in unasked if one not in denies_nobody]
    denies_nobody += _readable((config, *(table.files if table else ())), readers)
    denies_nobody += _in_service_group(module_user)
    problems += denies_nobody
    if os.geteuid() != 0:
        problems.append(Problem(config, None, "", NOT_ROOT, RUN_AS_ROOT, Severity.WARNING))
    errors = [each for each in problems if each.severity is Severity.ERROR and each not in denies_nobody]
    usable = examination.settings is not None
    return ConfigReport(
        settings_files=examination.settings.files if examination.settings else (config,),
        table_files=table.files if table else (),
        users=len(table.entries) if table else 0,
        gateways=examination.settings.gateways if examination.settings else (),
        problems=tuple(problems),
        denied=who_is_denied(config, errors, usable=usable, files=files) if errors else "",
    )


def accounts_shut_out(config: Path) -> dict[str, dict[str, list[str]]]:
    """The accounts that can log in to a shell today, and cannot once sshd or a service with these settings asks the
    phone: by service, then by the reason."""
    services = dict.fromkeys(["sshd", *_asking(config, PamFiles(FOLDERS, dialect()))])
    return {name: shut_out(name, config) for name in services}


def _readable(files: Iterable[Path], readers: Set[int]) -> Iterator[Problem]:
    """Files with settings and tokens that others than root and the module can read; the secret is denied then."""
    for file in files:
        with suppress(OSError):
            status = file.stat()
            others = others_with_access(status, readers)
            if others:
                what = f"is accessible to {others} ({mode_of(status)}): only root and the service may read it"
                yield Problem(file, None, "", what, readers_remedy(str(file)), kind="configuration-readable")
            if has_access_list(file):
                remedy = access_list_remedy(str(file))
                yield Problem(file, None, "", ACCESS_LIST, remedy, kind="configuration-readable")


def _in_service_group(user: str) -> Iterator[Problem]:
    """Whether people are in the group that reads the application's secret and all tokens."""
    found = others_in_group(user)
    if found:
        what = f"the group {user} is the service's own: {names(found)} can read the application's secret and all tokens"
        remedy = (
            f"gpasswd --delete USER {user} (a primary group: usermod --gid GROUP USER), end their logins, which keep"
            " the group, and make a new secret at IAMPASS; those who are asked can have a group such as iampass-users"
        )
        yield Problem(Path("/etc/group"), None, "", what, remedy, kind="configuration-readable")


def _previous_secret(config: Path, found: settings.Settings) -> Iterator[Problem]:
    if found.previous_secret:
        yield second_secret(config, found.files[1], "pam-iampass")


def second_secret(config: Path, file: Path, command: str) -> Problem:
    """Returns the finding that the secret in `file` is being changed. Only a call of IAMPASS shows which is used."""
    what = f"{file} has a second line, the previous secret: it is used while IAMPASS rejects the first"
    remedy = f"{command} check says which one is used; delete the second line when it is the first"
    key = "application_secret_file"
    return Problem(config, None, key, what, remedy, Severity.WARNING, "previous-secret-left")


def _advice(config: Path, lines: Mapping[tuple[str, str], int]) -> Iterator[Problem]:
    """Settings that are valid, and rarely intended. `lines` are the lines of the items of lists."""
    for (key, text), line in sorted(lines.items(), key=lambda item: item[1]):
        section, kind = f".{key}".split(".")[-2:]
        if (section, kind) == ("exempt", "rules"):
            rule = exempt_rule(text)
            faults = [
                _unknown("groups" if rule.is_group else "users", rule.name),
                _network_fault(rule.network),
            ]
        elif (section, kind) == ("exempt", "networks"):
            faults = [_network_fault(ipaddress.ip_network(text))]
        else:
            faults = [_unknown(kind, text)] if section in ("exempt", "asked") else []
        severity = Severity.WARNING
        if section == "asked":
            severity = Severity.ERROR
            faults = [f"{fault}: users who are not listed are denied" for fault in faults if fault]
        for what, remedy in ((fault, _REMEDIES[kind]) for fault in faults if fault):
            yield Problem(config, line, key, f"{shown(text)} {what}", remedy, severity)


_TRUSTED = "name only networks that you trust as you trust the phone"
_REMEDIES = {
    "users": "check getent passwd",
    "groups": "check getent group",
    "networks": _TRUSTED,
    "rules": f"check getent passwd and getent group, and {_TRUSTED}",
}


def _unknown(kind: str, name: str) -> str | None:
    look_up: Callable[[str], object] = grp.getgrnam if kind == "groups" else pwd.getpwnam
    try:
        look_up(name)
    except (KeyError, OSError, ValueError):
        return f"is not a {kind[:-1]} of this machine"
    return None


def _sshd(program: str) -> sshd.SshdSettings:
    """sshd's settings; none where they cannot be had."""
    try:
        return sshd.settings(program=program) if os.geteuid() == 0 else sshd.SshdSettings({})
    except (CommandUnavailable, sshd.SshdConfigRejected):
        return sshd.SshdSettings({})


def _grace_time(config: Path, found: settings.Settings, in_force: sshd.SshdSettings) -> Iterator[Problem]:
    """Whether sshd ends a login before the user's time to approve is over."""
    timeout = found.for_service(in_force.service).timeout
    needed, grace = timeout + SSHD_MARGIN, in_force.values.get("logingracetime", "")
    if not grace.isdigit() or int(grace) == 0 or int(grace) >= needed:
        return
    what = f"{timeout:g}s, plus {SSHD_MARGIN}s for the prompt, is longer than sshd's LoginGraceTime {grace}"
    service = in_force.service
    remedy = f"set LoginGraceTime {needed:g} in sshd_config, or a shorter timeout for the service {service}"
    yield Problem(config, None, "timeout", what, remedy, Severity.WARNING, "sshd-grace-short")


def _exceptions(config: Path, found: settings.Settings) -> Iterator[Problem]:
    """Whether sshd spares the users who are exempt now the prompt."""
    try:
        difference = outdated(found)
    except OSError:
        return
    if difference is not None:
        what = f"sshd does not know yet who is exempt: {DROP_IN} {difference}"
        yield Problem(config, None, "exempt", what, SET_UP, Severity.WARNING, "sshd-exempt-prompted")


def _siblings(config: Path, found: settings.Settings) -> Iterator[Problem]:
    """PAM services with different settings, between which the caller can choose, as with `su -`."""
    for service, sibling in (USES["su"], USES["sudo"]):
        if found.for_service(service) != found.for_service(sibling):
            what = f"differ from those of {sibling}: users choose between the two, with and without a login shell"
            remedy = f"give {service} and {sibling} the same settings"
            yield Problem(config, None, f"services.{service}", what, remedy, Severity.WARNING)


def _second_people(config: Path, found: settings.Settings) -> Iterator[Problem]:
    """Second people who cannot be asked."""
    users = found.user_table()
    for name, service in found.services.items():
        second, key = service.approver, f"services.{name}.approver"
        if not isinstance(second, SecondPerson):
            continue
        try:
            names = second.names if second.group is None else Accounts().members_of(second.group)
            asked = [
                who for who in names or () if isinstance(policy.phone(who, service, users), policy.Phone)
            ]
        except (LookupFailed, policy.PolicyError, ConfigurationError):
            continue  # then every login is denied, which is told elsewhere
        if names is None:
            what = f"{shown(second.group or '')} is not a group of this machine: every login is denied"
            yield Problem(config, None, f"{key}.group", what, "check getent group")
            continue
        for who in sorted(set(second.names) - set(asked)):
            what = f"{shown(who)} is to approve, and has no token in the user table"
            yield Problem(config, None, key, what, f"pam-iampass enroll {who}, or delete the name")
        if not asked:
            what = "names nobody who has a token: every login is denied"
            yield Problem(config, None, key, what, "add somebody who has one")
        elif len(asked) == 1 and not second.allow_self:
            what = f"names {asked[0]} alone, whose own logins nobody can approve"
            yield Problem(config, None, key, what, "name a second one, or allow_self", Severity.WARNING)


def _exempt_agents(found: settings.Settings, users: user_table.TableReport) -> Iterator[Problem]:
    """Accounts that act for a person, and are exempt in a service."""
    services = {"": found.service, **found.services}
    for name, entry in users.entries.items():
        if not entry.acts_for:
            continue
        with suppress(UnknownAccount, LookupFailed):
            account = Accounts().named(name)
            reasons = {
                one: policy.exempted_by_name(account, service, Accounts())
                for one, service in services.items()
            }
            service = next((one for one, reason in reasons.items() if reason), None)
            if service is not None:
                through = f" through {service}" if service else ""
                what = f"names a person, and {reasons[service]}: logins of this account{through} are denied"
                remedy = f"delete the exemption, or the entry of {name}"
                yield user_table.cannot_act(name, *users.places[name], what, remedy)


def _services(
    config: Path,
    found: settings.Settings,
    lines: Mapping[tuple[str, str], int],
    in_force: sshd.SshdSettings,
    files: PamFiles,
) -> Iterator[Problem]:
    """Names of PAM services that do not ask the phone: settings for them hold for nobody."""
    named = {(f"services.{name}", name): not_asking(name, files) for name in found.services}
    for prefix, service in [("", found.service), *((f"services.{n}.", s) for n, s in found.services.items())]:
        for name in sorted(service.session.covers.services):
            key = f"{prefix}session.covers.services"
            if not prefix or (key, name) in lines:  # else it is what holds for all services
                named[key, name] = not_asking(name, files)
    for (key, name), problem in named.items():
        if key == "services.sshd" and in_force.service != "sshd":
            what = f"have no effect: sshd uses the PAM service {in_force.service} (PAMServiceName)"
            yield Problem(config, None, key, what, f"did you mean {in_force.service}?")
        elif problem is not None:
            yield replace(problem, file=config, line=lines.get((key, name)), key=key)


def _su_to_root(config: Path, found: settings.Settings) -> Iterator[Problem]:
    """Services of su in which root itself has to approve when a user becomes root, and does not, or cannot."""
    for name in USES["su"]:
        service = found.for_service(name)
        caller = service.approver in (Approver.CALLER, Approver.LOGIN)
        if caller or isinstance(service.approver, SecondPerson):
            continue
        key, remedy = f"services.{name}.approver", "delete `approver: user`: then the caller approves"
        try:
            root = Accounts().named("root")
            exempt = policy.exemption(root, Login(root.name, name), service, Accounts())
            phone = policy.phone(root.name, service, found.user_table())
        except (UnknownAccount, LookupFailed, policy.PolicyError, ConfigurationError):
            continue  # then every login is denied, which is told elsewhere
        if exempt is not None or (isinstance(phone, policy.NotListed) and phone.ignore):
            why = exempt or "root has no token, and unlisted_users is ignore"
            what = f"lets everybody who knows root's password become root with su, without a phone: {why}"
            yield Problem(config, None, key, what, remedy)
        elif isinstance(phone, policy.NotListed):
            what = "denies everybody su to root: root is to approve, and has no token"
            yield Problem(config, None, key, what, remedy, Severity.WARNING)


def _approved_login(
    config: Path,
    found: settings.Settings,
    lines: Mapping[tuple[str, str], int],
    sshd_service: str,
    files: PamFiles,
) -> Iterator[Problem]:
    """Services with `approver: login` in which nothing says who approved the login session."""
    logins = [
        one.name
        for one in files.usable()
        if one.name in (sshd_service, *sessions.LOGINS)
        and (our_lines(one) or our_lines(one, PamType.ACCOUNT))
    ]
    keeping = [name for name in logins if found.for_service(name).session.keep]
    by_key = "write approver: key (sshd), caller or user"
    for name, service in found.services.items():
        if service.approver is not Approver.LOGIN:
            continue
        severity = Severity.ERROR
        if name in (sshd_service, "sshd", *sessions.LOGINS):
            what, remedy = (
                "denies every login: it opens the login session, which nobody has approved yet",
                by_key,
            )
        elif not keeping and found.for_service(sshd_service).session.keep:
            what = f"finds no login session that a person approved: {sshd_service} does not ask the phone yet"
            remedy, severity = f"pam-iampass setup {sshd_service}", Severity.WARNING
        elif not keeping:
            what = "finds no login session that a person approved: no service by which people log in has session.keep"
            remedy = f"write session: {{keep: true}} for {sshd_service}, and pam-iampass setup {sshd_service}"
        elif name == "polkit-1":
            what = (
                "finds who approved the login session only if polkit's agent, which shows the question, runs in it"
                " (pkttyagent), and the account itself is picked there: every other request is denied, and from polkit"
                " 127 on each request"
            )
            remedy, severity = "for desktops, write approver: user", Severity.WARNING
        else:
            continue
        key = f"services.{name}.approver"
        yield Problem(config, lines.get((key, "login")), key, what, remedy, severity)


def _asked_twice(files: PamFiles) -> Iterator[Problem]:
    """PAM services whose `auth` lines lead to us twice, such as by the profile of pam-auth-update and by setup."""
    told: set[str] = set()
    for service in files.usable():
        ours = our_lines(service)
        for line in ours[1:]:
            if line.place not in told:
                told.add(line.place)
                what = f"the phone of a login through {service.name} would ring twice: {ours[0].place} asks it, too"
                yield Problem(line.file, line.line, "", what, _TWICE)


def _not_called(files: PamFiles) -> Iterator[Problem]:
    """Services that ask the phone, and whose programs let people in without asking PAM."""
    for service in files.usable():
        if our_lines(service):
            with suppress(OSError):  # of a user who may not read the settings of cockpit
                yield from unauthenticated(service.name, files.folders[0].parent)


def _switched_off(manifest: Path, files: PamFiles) -> Iterator[Problem]:
    """PAM services that `setup` has switched on and that do not ask: nobody has said that they are to be off."""
    try:
        found = json.loads(trusted_file.read(manifest))
        edited = {
            Path(file["path"]): str(name)
            for name, record in found["services"].items()
            for file in record["files"]
            if file["edited"]
        }
    except MissingFile:
        return
    except (UntrustedFile, ValueError, KeyError, TypeError, AttributeError) as error:
        if not isinstance(error, UnreadableFile) or os.geteuid() == 0:
            what = f"what setup has switched on is not known: {error}"
            yield Problem(manifest, None, "", what, "pam-iampass setup status")
        return
    for path, name in edited.items():
        if not _does_ask(path.name, files):
            what = f"{path.name} does not ask the phone any more, although setup has switched it on"
            remedy = f"pam-iampass setup {name}; or, to leave it off: pam-iampass setup undo {name}"
            yield Problem(path, None, "", what, remedy, kind="switched-off")


def _unasked(config: Path, found: settings.Settings | None, files: PamFiles) -> Iterator[Problem]:
    """Yields the ways around the phone in services that use these settings."""
    names = _asking(config, files)
    stacks = Stacks(files, module_folders(), frozenset(names))
    for name in names:
        with suppress(OSError):  # of a user who may not read all
            yield from switched_off.problems(name, stacks, found)


def _does_ask(name: str, files: PamFiles) -> bool:
    """Whether logins through a PAM service ask the phone, or fail because libpam finds no file of it."""
    if files.path(name) is None:
        return not Stacks(files, module_folders(), frozenset([OTHER])).lets_in_unasked(OTHER)
    try:
        service = files.service(name)
    except (OSError, UnusableService):
        return False
    return bool(our_lines(service) or (name == "sshd" and our_lines(service, PamType.ACCOUNT)))


def _no_connection_covered(config: Path, found: settings.Settings, files: PamFiles) -> Iterator[Problem]:
    """Services with `covers_connections` that ask the phone in the account phase, where it has no effect."""
    for service in files.usable():
        session = found.for_service(service.name).session
        quiet = our_lines(service, PamType.ACCOUNT) and not our_lines(service)
        if quiet and session.keep and session.covers_connections:
            what = (
                f"has no effect for {service.name}: the phone is asked in the account phase, in which sshd has not said"
                " yet whether the first factor is the same"
            )
            remedy = "pam-iampass setup sshd --prompt, or covers_connections: false"
            yield Problem(config, None, "session.covers_connections", what, remedy, Severity.WARNING)


def _network_fault(network: Network) -> str | None:
    if network.prefixlen == 0:
        return f"is every address of IPv{network.version}"
    if any(network.version == own.version and network.overlaps(own) for own in _OWN_NETWORKS):
        return "contains this machine's own addresses: users who can forward a port are exempt"
    return None


def rescue_problems(found: settings.Settings, files: PamFiles) -> Iterator[Problem]:
    """A problem for each line with `rescue=NAME` if NAME is an account that the settings do not exempt from the phone.

    Files that cannot be read, or that libpam cannot use, are left out.
    """
    for service in files.usable():
        for line in (*our_lines(service), *our_lines(service, PamType.ACCOUNT)):
            name = ModuleArguments.parse(["", *own_arguments(line)]).rescue
            why = _not_exempt(name, service.name, found) if name else None
            if why:
                when = "while no agent runs or the settings are invalid"
                what = f"rescue={name} lets {name} in without the phone {when}, but {name} {why}"
                remedy = f"exempt it, for instance exempt: {{users: [{name}]}}, or remove the argument"
                yield Problem(line.file, line.line, "rescue", what, remedy, Severity.ERROR)


def _not_exempt(name: str, service: str, found: settings.Settings) -> str | None:
    """Why the account needs the phone in this service, from wherever it logs in; None if it does not."""
    accounts = Accounts()
    try:
        account = accounts.named(name)
        reason = policy.exemption(account, Login(name, service), found.for_service(service), accounts)
    except UnknownAccount:
        return "is not an account of this machine"
    except (LookupFailed, policy.PolicyError) as error:
        return f"cannot be judged: {error}"
    if account.name != name:
        return f"is another spelling of {account.name}"
    return None if reason else "is not exempt"


def who_is_denied(config: Path, errors: Sequence[Problem], *, usable: bool, files: PamFiles) -> str:
    """Which logins are denied until these errors are fixed, in words.

    `usable` is whether the settings themselves have no error.
    """
    if any(problem.remedy == RUN_AS_ROOT for problem in errors):
        return "not everything could be read: run it as root"
    whom = _and(dict.fromkeys(_whom(errors) if usable else ["every login is denied"]))
    services = _asking(config, files)
    if not services:
        return f"{whom}, once a PAM service uses these settings"
    return f"through {_and(services)}, {whom}"


def _whom(errors: Sequence[Problem]) -> Iterator[str]:
    """The users who are denied, where the settings can be used: exempt users are not."""
    single: dict[str, None] = {}
    for problem in errors:
        section, file = problem.key.rpartition(".")[0], problem.file or Path()
        of_key = keys.whom(problem)
        if problem.kind == user_table.CANNOT_ACT:
            single[clean(section, 40)] = None
        elif of_key is not None:
            yield of_key
        elif section.rpartition(".")[2] == "asked":
            yield f"users whom {section} does not list are denied"
        elif file.parent.name == user_table.FOLDER:
            single[clean(user_of(file.name) or file.name, 40)] = None
        elif file.name == user_table.FOLDER:
            yield "users who are not exempt are denied"
        else:
            yield f"users who are not exempt and have no file in {user_table.FOLDER} are denied"
    if single:
        yield f"{_and(single)} {'is' if len(single) == 1 else 'are'} denied"


def _asking(config: Path, files: PamFiles) -> list[str]:
    """The PAM services whose lines name these settings. Services that libpam cannot use are left out."""
    found = []
    for service in files.usable():
        lines = our_lines(service) + our_lines(service, PamType.ACCOUNT)
        if any(ModuleArguments.parse(["", *own_arguments(line)]).config == str(config) for line in lines):
            found.append(service.name)
    return found


def _and(words: Sequence[str] | dict[str, None]) -> str:
    names = list(words)
    if len(names) > _MOST_NAMES:
        names[_MOST_NAMES - 1 :] = [f"{len(names) - _MOST_NAMES + 1} more"]
    return ", ".join(names[:-1]) + " and " * (len(names) > 1) + names[-1]
