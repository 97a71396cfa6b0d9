"""The checks before a change, and after it: settings, PAM stacks, sudo, and whether the administrator can still log in.

They yield what is wrong, and what is in order (Severity.OK). `sshd.py` has the checks of sshd's own settings.
"""

from __future__ import annotations

import contextlib
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from pam_iampass.audit.administrator import NO_LOGIN, login_uid
from pam_iampass.check.configuration import check_config
from pam_iampass.check.iampass import host_at_gateway, people_at_gateway
from pam_iampass.check.machine import MAX_USERS
from pam_iampass.check.pam_files import of_services
from pam_iampass.check.shut_out import GIVE_TOKENS, SHUT_OUT, root_gets_in, shut_out
from pam_iampass.check.shut_out import listed as reasons
from pam_iampass.check.sshd import SET_UP
from pam_iampass.check.stacks import Stacks, module_folders
from pam_iampass.check.sudo import loopholes
from pam_iampass.check.user_status import UserState, user_status
from pam_iampass.client import IampassError
from pam_iampass.client.application import PersonAtGateway
from pam_iampass.config import settings, user_table
from pam_iampass.config.value_types import Approver, SecondPerson
from pam_iampass.errors import ConfigurationError, Problem, SetupRefused, Severity
from pam_iampass.login import policy
from pam_iampass.outcome import Login
from pam_iampass.pam.modules import ALWAYS, NATIVE, our_lines
from pam_iampass.pam.services import why_unsuitable
from pam_iampass.pam.stack import PamType, UnusableService
from pam_iampass.setup.edits import CODES, KEY, PASSWORD, QUIET
from pam_iampass.setup.files import Paths
from pam_iampass.setup.plan import WantedService
from pam_iampass.system import sshd, sudoers
from pam_iampass.system.accounts import Account, Accounts, LookupFailed, UnknownAccount, login_accounts
from pam_iampass.system.paths import AGENT_SOCKET
from pam_iampass.system.programs import CommandUnavailable
from pam_iampass.system.service_user import config_readers
from pam_iampass.system.sudoers import NO_PASSWORD
from pam_iampass.system.trusted_folder import shell_word
from pam_iampass.text import names as listed

_PASSES_ROOT = ("sudo", "doas", "polkit-1")
_REFUSED = ("stack-wrong-rings", "stack-skipped-sometimes", "stack-ignored-fails")
"""Findings that are warnings or notes of `check`, and that setup does not bring about."""
_KNOWN = (
    *("sshd", "sudo", "su", "doas", "polkit-1", "login"),
    *("gdm-password", "lightdm", "sddm", "cockpit", "xrdp-sesman"),
)
"""Services whose programs ask as root."""
_SUDOEDIT_OF_RS, _ASKING_SUDOEDIT_OF_RS = (0, 2, 6), (0, 2, 14)
"""The versions of sudo-rs that may have a sudoedit, and since when it runs PAM's account stack."""
_LATER = ("service-off", "switched-off", "session-remembered", "stack-not-called")
"""Problems that this setup may remove, or that do not concern the service that it is for."""


def fine(what: str) -> Problem:
    """No problem."""
    return Problem(None, None, "", what, "", Severity.OK)


def warning(what: str, remedy: str) -> Problem:
    """A problem that does not stop setup."""
    return Problem(None, None, "", what, remedy, Severity.WARNING)


def error(what: str, remedy: str) -> Problem:
    """A problem that stops setup."""
    return Problem(None, None, "", what, remedy)


def lockout(what: str, remedy: str) -> Problem:
    """The administrator could be locked out."""
    return Problem(None, None, "", what, remedy, forcible=True)


def as_setup_says(found: Problem) -> Problem:
    """Returns a finding of `check` in one line. `--force` continues in spite of it."""
    return replace(found, what=f"{found.key}: {found.what} ({found.evidence})", forcible=True)


def check_settings(config: Path) -> Iterator[Problem]:
    """The problems that `pam-iampass check` reports."""
    found = check_config(config)
    for problem in found.problems:
        if problem.remedy == SET_UP or problem.kind in _LATER or problem.key.endswith(".approver"):
            continue  # who can be asked depends on what is switched on: see check_second_factor
        make = error if problem.severity is Severity.ERROR else warning
        yield make(str(problem), problem.remedy)
    if found.ok:
        yield fine(f"the settings: {config} and its tables are valid")


def admin(environment: Mapping[str, str]) -> Account:
    """The administrator: the user who called sudo, else who logged in, else root. Raises SetupRefused."""
    accounts = Accounts()
    try:
        if environment.get("SUDO_USER"):
            return accounts.named(environment["SUDO_USER"])
        try:
            uid = login_uid("self")
        except (OSError, ValueError):
            uid = NO_LOGIN
        return accounts.with_uid(0 if uid == NO_LOGIN else uid)
    except (UnknownAccount, LookupFailed):
        raise SetupRefused(
            "the user who runs this has no account on this machine", "run it from a login of your own"
        ) from None


class AtGateway:
    """The answers of this host's gateway about the people who log in here. They are empty on a machine that has joined
    none."""

    def __init__(self, who: Account, config: Path) -> None:
        """`who` is the administrator."""
        self.people: Mapping[str, PersonAtGateway] = {}
        """The administrator, root, and the accounts of people."""
        self.host = ""
        """The name of this machine at the gateway."""
        self._who = who
        self._settings = settings.load(config, readers=config_readers())

    def ask(self) -> Iterator[Problem]:
        """Ask the gateway; yields why this host cannot ask anybody. That it cannot be reached stops nothing, as IAMPASS
        would not."""
        if not self._settings.gateways:
            return
        names = list(dict.fromkeys([self._who.name, "root", *login_accounts()]))
        try:
            host = host_at_gateway(self._settings)
            if host.status == "active":
                self.people = people_at_gateway(self._settings, names[:MAX_USERS])
        except IampassError as problem:
            yield warning(f"the gateway was not asked who may log in here: {problem}", problem.remedy)
            return
        self.host = host.name
        if host.status != "active":
            verb = "admit" if host.status == "waiting" else "resume"
            state = "waits to be admitted" if host.status == "waiting" else f"is {host.status}"
            remedy = f"at the gateway: pam-iampass-gateway host {verb} {host.name}"
            yield lockout(
                f"the gateway: {host.name} {state}: everybody who is asked would be locked out", remedy
            )
        if len(names) > MAX_USERS:
            others = len(names) - MAX_USERS
            yield warning(f"the gateway was not asked whether {others} further accounts may log in here", "")

    def against(self, name: str) -> tuple[str, str]:
        """Why this user would be locked out, and what to do; empty if nothing is known against it."""
        person = self.people.get(name)
        if person is None:
            return "", ""
        word = shell_word(name)
        if not person.may_log_in:
            remedy = f"at the gateway: pam-iampass-gateway user may {word} {self.host}; or exempt {name}"
            return f"the gateway says that {name} may not log in here", remedy
        if person.has_phone is False:
            return f"no phone is registered for {name}", f"at the gateway: pam-iampass-gateway enroll {word}"
        return "", ""

    def others(self, services: Iterable[WantedService]) -> Iterator[Problem]:
        """Which other accounts these services would lock out."""
        pairs = [(service.name, name) for service in services for name in service.pam_services]
        asked = {
            name: person
            for name, person in self.people.items()
            if name != self._who.name and any(self._asks(name, *pair) for pair in pairs)
        }
        outside = [name for name, person in asked.items() if not person.may_log_in]
        without = [name for name, person in asked.items() if person.has_phone is False]
        if outside:
            what = "the gateway says that these may not log in here, and they would be locked out"
            remedy = f"at the gateway: pam-iampass-gateway user may USER {self.host}; or exempt them"
            yield warning(f"{what}: {listed(outside)}", remedy)
        if without:
            what = "no phone is registered for these, and they would be locked out"
            yield warning(f"{what}: {listed(without)}", "at the gateway: pam-iampass-gateway enroll USER")

    def _asks(self, name: str, service: str, pam_service: str) -> bool:
        """Whether a login of this user through a PAM service needs the user's own phone."""
        wanted = self._settings.for_service(pam_service)
        if wanted.approver not in (Approver.USER, Approver.CALLER):
            return False
        try:
            account = Accounts().named(name)
            if account.uid == 0 and service in _PASSES_ROOT:
                return False
            return policy.exemption(account, Login(name, pam_service), wanted, Accounts()) is None
        except (policy.PolicyError, LookupFailed, UnknownAccount):
            return False


def check_second_factor(
    who: Account, wanted_service: WantedService, pam_service: str, config: Path, gateway: AtGateway
) -> Iterator[Problem]:
    """Whether `who` would pass the module through a service, by its PAM service `pam_service`."""
    service = wanted_service.name
    if service in _PASSES_ROOT and who.uid == 0:
        remedy = "run setup through sudo as the user who will use it, or name one: SUDO_USER=alice pam-iampass setup"
        yield warning(f"{service} does not ask root, and no other user was checked", remedy)
        return
    what_for = "su -" if pam_service == "su-l" else service
    loaded = settings.load(config, readers=config_readers())
    wanted = loaded.for_service(pam_service)
    if wanted.approver is Approver.KEY:
        yield from _check_keys(wanted_service, loaded)
        return
    asked = who
    if service == "su" and wanted.approver is Approver.USER:
        asked = Accounts().named("root")
    login = Login(asked.name, pam_service)
    try:
        exempt = policy.exemption(asked, login, wanted, Accounts())
        phone = policy.phone(asked.name, wanted, loaded.user_table())
    except (policy.PolicyError, LookupFailed, ConfigurationError) as error:
        yield lockout(f"{what_for}: {asked.name} would be denied: {error}", "correct that, and try again")
        return
    if exempt is not None:
        yield warning(
            f"{what_for}: {asked.name} passes without the phone: {exempt}",
            "check exempt and asked in the settings",
        )
    elif isinstance(wanted.approver, SecondPerson):
        yield warning(
            f"{what_for}: second people must approve, and {asked.name} cannot log in without them",
            "pam-iampass check says whether they can be asked",
        )
    elif wanted.approver is Approver.LOGIN:
        yield warning(
            f"{what_for}: whoever approved the login session must approve; {who.name} needs one that is kept",
            "pam-iampass check says whether sessions of logins are kept; pam-iampass session list shows them",
        )
    elif isinstance(phone, policy.Phone):
        what, remedy = gateway.against(asked.name)
        known = (
            ", if the gateway knows this name" if loaded.gateways and asked.name not in gateway.people else ""
        )
        if what:
            yield lockout(f"{what_for}: {what}: {asked.name} would be locked out", remedy)
        else:
            yield fine(f"{what_for}: {asked.name} is asked on the phone{known}")
    elif phone.ignore:
        what = f"{what_for}: {asked.name} has no token and passes without the phone, as unlisted_users says"
        yield warning(what, f"give {asked.name} a token: pam-iampass user add {asked.name}")
    else:
        remedy = f"give {asked.name} a token first (pam-iampass enroll {asked.name}), or exempt {asked.name}"
        if asked is not who:
            remedy += ", or delete `approver: user`: then the caller is asked"
        yield lockout(f"{what_for}: {asked.name} has no token, and would be locked out", remedy)


def check_others(who: Account, service: WantedService, config: Path) -> Iterator[Problem]:
    """The other accounts that can log in to a shell today, and that a service would shut out."""
    found = shut_out(service.name, config, {KEY: "publickey", PASSWORD: "password"}.get(service.choice, ""))
    others = {why: [name for name in names if name != who.name] for why, names in found.items()}
    if others := {why: names for why, names in others.items() if names}:
        yield warning(
            f"{service.name}: these accounts {SHUT_OUT} it asks the phone: {reasons(others)}", GIVE_TOKENS
        )


def _check_keys(service: WantedService, loaded: settings.Settings) -> Iterator[Problem]:
    """Whether a key can name whom to ask (`approver: key`), and anybody who has a token."""
    if service.name != "sshd":
        what = f"{service.name}: approver: key is for sshd, and would lock everybody out"
        remedy = f"write another approver for {service.name} in the settings"
        if service.name == _service_of_sshd():
            what = (
                f"{service.name}: sshd uses this PAM service (PAMServiceName), but setup has sshd show the prompt that"
                " approver: key needs only with the service sshd"
            )
            remedy = "remove PAMServiceName from sshd_config, write approver: key for sshd, and set up sshd --prompt"
        yield lockout(what, remedy)
        return
    if service.choice in (QUIET, CODES):
        what = "sshd: approver: key would lock everybody out, because sshd names the key later"
        yield lockout(what, "pam-iampass setup sshd --prompt")
        return
    found = user_table.check(loaded.users, optional=bool(loaded.gateways))
    if found.broken:
        yield lockout(
            f"sshd: not everybody would be let in: {found.broken[0]}", "correct that, and try again"
        )
        return
    people = [entry for entry in found.entries.values() if entry.keys]
    if any(entry.token for entry in people) or loaded.for_service("sshd").unlisted_users.template is not None:
        yield fine(f"sshd: the person whose key it is, is asked on the phone: {len(people)} have keys")
    else:
        remedy = "pam-iampass user add-key PERSON FILE, and pam-iampass enroll PERSON"
        yield lockout(
            "sshd: nobody has a key and a token in the user table: everybody would be locked out", remedy
        )


def _service_of_sshd() -> str:
    try:
        return sshd.settings().service
    except (CommandUnavailable, sshd.SshdConfigRejected):
        return "sshd"


def check_module(service: WantedService) -> Iterator[Problem]:
    """Whether what the new lines need is there: the module, and the agent."""
    if not any((folder / NATIVE).exists() for folder in module_folders()):
        yield error(f"PAM: {NATIVE} is not installed", "install pam-iampass again")
    elif not Path(AGENT_SOCKET).is_socket():
        what = f"PAM: {service.name} needs the agent, and nothing listens on {AGENT_SOCKET}"
        yield error(what, "systemctl enable --now pam-iampass-agent.socket")


def check_stacks(service: WantedService, paths: Paths, modules: Sequence[Path]) -> Iterator[Problem]:
    """Simulate the PAM files before they are written. `modules` are the folders of libpam's modules."""
    stacks = Stacks(paths.pam_files(service.pam_texts), modules, frozenset(service.pam_services))
    unusable = [
        one for one in map(stacks.services.get, service.pam_services) if isinstance(one, UnusableService)
    ]
    if unusable:
        yield error(f"PAM: {service.name} does not work: {unusable[0]}", "correct the PAM file")
        return
    found = list(of_services(service.pam_services, stacks))
    for finding in found:
        what = f"PAM: {finding.key}: {finding.what} ({finding.evidence})"
        if finding.severity is Severity.ERROR or finding.kind in _REFUSED:
            yield lockout(what, finding.remedy)
        elif finding.severity is Severity.WARNING:
            yield warning(what, finding.remedy)
    if service.choice == ALWAYS:
        for other in service.pam_services:
            if not stacks.asks_always(other):
                what = f"PAM: the account lines of {other} do not include those of {service.name}"
                yield error(what, f"have /etc/pam.d/{other} include {service.name} for account, too")
    if not found and service.choice in (QUIET, CODES):
        yield fine("PAM: in a simulation no account skips the phone, and a denial refuses every login")
    elif not found and service.choice != KEY:
        yield fine("PAM: in a simulation the right password leads to the phone, and a wrong one nowhere")
    yield from _others(service, stacks)


def _others(service: WantedService, stacks: Stacks) -> Iterator[Problem]:
    """Other PAM services of the program that do not ask the phone, and of other programs that would ask it too."""
    first, *also = service.pam_services
    for other in also:
        if stacks.lets_in_unasked(other):
            what = f"PAM: {other} does not include {first}: the phone is not asked there"
            yield warning(what, f"make /etc/pam.d/{other} include {first}")
    written = {file.path for file in service.files}
    for other, check in stacks.with_us.items():
        if check.ours.file not in written or other in service.pam_services:
            continue
        unsuitable = why_unsuitable(other)
        if unsuitable is not None:
            what = f"PAM: {other} includes {first}, and must not ask the phone: {unsuitable.reason}"
            yield lockout(what, f"make /etc/pam.d/{other} include common-auth or system-auth instead")
        else:
            yield warning(f"PAM: {other} includes {first}: it asks the phone, too", "")
    if service.name not in _KNOWN:
        what = f"PAM: setup does not know the program that uses {first}"
        yield warning(
            what, "root must run it, or it must be set-uid root: else every login is denied. Use --try"
        )


def in_force(service: WantedService, paths: Paths) -> Iterator[Problem]:
    """Whether the PAM files as they are now lead to our module."""
    files = paths.pam_files()
    kinds = {PamType.ACCOUNT if service.choice in (QUIET, CODES) else PamType.AUTH}
    if service.name == "sshd" or service.choice == ALWAYS:
        kinds.add(PamType.ACCOUNT)
    for name in (file.path.name for file in service.files if file.edited):
        try:
            found = files.service(name)
            leads = all(our_lines(found, kind) for kind in kinds)
        except UnusableService:
            leads = False
        if not leads:
            yield error(f"PAM: {name} does not lead to {NATIVE}", "check its PAM file")


def check_always(config: Path, pam_services: Sequence[str]) -> Iterator[Problem]:
    """Yields the users and jobs that a sudo which asks for every command would lock out, and what setup cannot see."""
    yield warning(
        "sudo: each command asks the phone: also of scripts, of monitoring (sudo -n) and of Ansible's tasks",
        "exempt their accounts, or let kept sessions cover sudo: session.covers",
    )
    if not root_gets_in():
        what = "sudo: root has neither a password nor a key that sshd accepts"
        why = "without the agent nobody could become root to start it"
        yield lockout(f"{what}: {why}", "give root a password (passwd), which works at the console, or a key")
    for source in sudoers.directories():
        what = f"sudo: the rules from {source} are not read, in which an option could lead past the phone"
        yield warning(what, "search them for !pam_acct_mgmt, pam_service and the like")
    for line in sudoers.other_plugins():
        yield warning(
            f"sudo: this line of /etc/sudo.conf is not known: {line}", "check that it is no other policy"
        )
    version = sudoers.version_of_sudo_rs()
    if version is not None and _SUDOEDIT_OF_RS <= version < _ASKING_SUDOEDIT_OF_RS:
        what = f"sudo-rs {'.'.join(map(str, version))}: its sudoedit runs no account stack, and asks no phone"
        yield lockout(what, "upgrade sudo-rs to 0.2.14 or later, or remove it")
    yield from _without_password(config, pam_services[0])


def _without_password(config: Path, pam_service: str) -> Iterator[Problem]:
    """The accounts that sudoers lets in without a password, and that have no phone."""
    named: set[str] = set()
    for file in sudoers.files():
        with contextlib.suppress(sudoers.SudoersRejected, CommandUnavailable):
            for line in sudoers.read(file).lines:
                if line.name == NO_PASSWORD or (line.name == "authenticate" and line.value is False):
                    named |= line.accounts if line.accounts is not None else set(login_accounts())
    denied = []
    with contextlib.suppress(ConfigurationError, LookupFailed):
        for status in user_status(config, sorted(named)).users:
            state = status.services.get(pam_service, status.state)
            if state in (UserState.BROKEN, UserState.DENIED):
                denied.append(status.name)
    if denied:
        what = "sudo: these accounts need no password for some commands, have no phone, and would be denied"
        yield warning(f"{what}: {listed(denied)}", GIVE_TOKENS)


def check_sudo(config: Path, around: Collection[Problem], *, always: bool) -> Iterator[Problem]:
    """Lines in sudoers that lead sudo or sudo-rs around the phone, but for those in `around`. `always` is whether it
    is to ask for every command."""
    loaded = settings.load(config, readers=config_readers())
    for file in sudoers.files():
        try:
            found = sudoers.read(file)
        except sudoers.SudoersRejected as rejected:
            yield warning(str(rejected), "correct it with visudo")
            continue
        except CommandUnavailable as failure:
            yield warning(f"sudoers was not checked: {failure}", failure.remedy)
            continue
        for loophole in loopholes(
            found,
            lambda service: service in ("sudo", "sudo-i"),
            lambda names: frozenset(),
            lambda service: loaded.for_service(service).approver,
            always=lambda service: always and service in ("sudo", "sudo-i"),
        ):
            level = error if loophole.kind in ("sudo-other-service", "sudo-no-account-phase") else warning
            if loophole not in around:  # which is about everybody
                yield level(f"{loophole.what} ({loophole.evidence})", loophole.remedy)
