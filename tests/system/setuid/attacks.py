"""The attacks that are a matter of what a process is like when sudo or su begins in it, as data."""

from __future__ import annotations

import signal
from dataclasses import dataclass, replace

from tests.support.setuid.people import Process
from tests.support.setuid.stage import Phone
from tests.support.setuid.traps import FOLDER, MARKS

OWN_ENVIRONMENT = "the module runs in the agent, which has the environment of systemd"
NO_INTERPRETER = "the native door contains no interpreter, and starts none"
NO_TRUST = "the client takes proxy and certificates from `iampass.yaml` only"
LOADER = "the dynamic loader ignores it in a set-uid program, and the agent does not get it"
LIMITS = "the limits do not hold for the agent; if the door lacks descriptors or memory, the login fails"
OUT_OF_PLACE = "the door opens nothing by a relative path, and the agent has a working directory of its own"
ABOVE_STANDARD = "the door uses descriptors above 2"
SIGNALS = "the door depends on no signal, and starts no process"


@dataclass(frozen=True)
class Attack:
    """One of them."""

    name: str
    stopped_by: str
    process: Process
    harmless: bool = True
    """Whether the login is as any other; else it may fail before it comes to the phone, or after an approval."""
    snaps: bool = False
    """Whether an ordinary Python program that asks IAMPASS falls for it, to show that the trap works."""
    variable: bool = False
    """Whether it is one variable of many."""

    @property
    def phones(self) -> tuple[Phone, ...]:
        """What the phone does: an approval is tried where it must be as good as ever, and for variables with all of
        them at once."""
        return (Phone.DENIES, Phone.APPROVES) if self.harmless and not self.variable else (Phone.DENIES,)


def variables(name: str, stopped_by: str, *, snaps: bool = False, **environment: str) -> Attack:
    """An attack by environment variables. `{server}` in them is the attacker's server."""
    return Attack(name, stopped_by, Process(environment), snaps=snaps, variable=True)


_PYTHON = {
    "PYTHONPATH": f"{FOLDER}/modules",
    "PYTHONHOME": f"{FOLDER}/prefix",
    "PYTHONPYCACHEPREFIX": f"{MARKS}/cache",
    "PYTHONUSERBASE": f"{FOLDER}/user",
}
_PROXY = "http://{server}"
_SITE = f"{FOLDER}/modules"

ENVIRONMENT = (
    variables("`PATH` with a planted standard library", NO_INTERPRETER, PATH=f"{FOLDER}/prefix/bin:/usr/bin"),
    variables("an empty `PATH`", NO_INTERPRETER, PATH=""),
    *(
        variables(f"`{name}`", OWN_ENVIRONMENT, snaps=True, **{name: value})
        for name, value in _PYTHON.items()
    ),
    variables(
        "`PYTHONSTARTUP`, `PYTHONINSPECT`, `PYTHONBREAKPOINT`",
        OWN_ENVIRONMENT,
        PYTHONSTARTUP=f"{FOLDER}/startup.py",
        PYTHONINSPECT="1",
        PYTHONBREAKPOINT="trap.trap",
    ),
    variables(
        "`PYTHONWARNINGS` that names a module",
        OWN_ENVIRONMENT,
        snaps=True,
        PYTHONWARNINGS="error::trap.Trap",
        PYTHONPATH=_SITE,
    ),
    variables(
        "`PYTHONVERBOSE`, `PYTHONDEVMODE`, `PYTHONMALLOC`, `PYTHONHASHSEED` and others that disturb an interpreter",
        OWN_ENVIRONMENT,
        PYTHONVERBOSE="2",
        PYTHONDEVMODE="1",
        PYTHONMALLOC="nonsense",
        PYTHONHASHSEED="nonsense",
        PYTHONIOENCODING="nonsense",
        PYTHONEXECUTABLE=f"{FOLDER}/prefix/bin/python3",
        PYTHONPLATLIBDIR="nonsense",
        PYTHONCASEOK="1",
    ),
    variables("`https_proxy`", NO_TRUST, snaps=True, https_proxy=_PROXY),
    variables("`HTTPS_PROXY`, `HTTP_PROXY`", NO_TRUST, snaps=True, HTTPS_PROXY=_PROXY, HTTP_PROXY=_PROXY),
    variables("`ALL_PROXY`, `all_proxy`", NO_TRUST, snaps=True, ALL_PROXY=_PROXY, all_proxy=_PROXY),
    variables("`NO_PROXY`, `no_proxy`", NO_TRUST, NO_PROXY="*", no_proxy="*"),
    variables("`REQUESTS_CA_BUNDLE`", NO_TRUST, REQUESTS_CA_BUNDLE=f"{FOLDER}/certificates.pem"),
    variables("`CURL_CA_BUNDLE`", NO_TRUST, CURL_CA_BUNDLE=f"{FOLDER}/certificates.pem"),
    variables(
        "`SSL_CERT_FILE`, `SSL_CERT_DIR`",
        NO_TRUST,
        SSL_CERT_FILE=f"{FOLDER}/certificates.pem",
        SSL_CERT_DIR=str(FOLDER),
    ),
    variables("`SSLKEYLOGFILE`", OWN_ENVIRONMENT, snaps=True, SSLKEYLOGFILE=f"{MARKS}/keys"),
    variables(
        "`OPENSSL_CONF`, `OPENSSL_MODULES`, `OPENSSL_ENGINES`",
        OWN_ENVIRONMENT,
        snaps=True,
        OPENSSL_CONF=f"{FOLDER}/openssl.cnf",
        OPENSSL_MODULES=str(FOLDER),
        OPENSSL_ENGINES=str(FOLDER),
    ),
    variables("`NETRC`, and `HOME` with a `.netrc`", NO_TRUST, NETRC=f"{FOLDER}/netrc", HOME=str(FOLDER)),
    variables("`LD_PRELOAD`", LOADER, snaps=True, LD_PRELOAD=f"{FOLDER}/library.so"),
    variables("`LD_AUDIT`", LOADER, snaps=True, LD_AUDIT=f"{FOLDER}/library.so"),
    variables("`LD_LIBRARY_PATH`", LOADER, LD_LIBRARY_PATH=str(FOLDER)),
    variables(
        "`LD_BIND_NOW`, `LD_DEBUG`, `LD_PROFILE`, `LD_ORIGIN_PATH`",
        LOADER,
        LD_BIND_NOW="1",
        LD_DEBUG="all",
        LD_DEBUG_OUTPUT=f"{MARKS}/debug",
        LD_PROFILE="libpam.so.0",
        LD_PROFILE_OUTPUT=str(MARKS),
        LD_ORIGIN_PATH=str(FOLDER),
    ),
    variables(
        "`GCONV_PATH`", LOADER, GCONV_PATH=str(FOLDER), LC_ALL="C.TRAP", CHARSET="TRAP", LANG="en_US.TRAP"
    ),
    variables(
        "`MALLOC_*` and `GLIBC_TUNABLES`",
        LOADER,
        MALLOC_PERTURB_="165",
        MALLOC_ARENA_MAX="1",
        MALLOC_CHECK_="3",
        MALLOC_TRACE=f"{MARKS}/malloc",
        GLIBC_TUNABLES="glibc.malloc.check=3:glibc.malloc.perturb=165:glibc.rtld.nns=1",
    ),
    variables("`LC_ALL`, `LANG`", OWN_ENVIRONMENT, LC_ALL="tr_TR.UTF-8", LANG="../../../home/traps"),
    variables("`LC_ALL=POSIX`", OWN_ENVIRONMENT, LC_ALL="POSIX", PYTHONUTF8="0", PYTHONCOERCECLOCALE="0"),
    variables(
        "`LANGUAGE`, `NLSPATH`, `LOCPATH`, `TEXTDOMAINDIR`",
        OWN_ENVIRONMENT,
        LANGUAGE="../../../home/traps",
        NLSPATH=f"{FOLDER}/%N",
        LOCPATH=str(FOLDER),
        TEXTDOMAINDIR=str(FOLDER),
    ),
    variables("`LOCALDOMAIN`", OWN_ENVIRONMENT, snaps=True, LOCALDOMAIN="evil"),
    variables("`HOSTALIASES`", OWN_ENVIRONMENT, snaps=True, HOSTALIASES=f"{FOLDER}/host-aliases"),
    variables("`RES_OPTIONS`", OWN_ENVIRONMENT, RES_OPTIONS="attempts:1 timeout:0 debug use-vc ndots:15"),
    variables("`RESOLV_HOST_CONF`", OWN_ENVIRONMENT, RESOLV_HOST_CONF="/etc/shadow"),
    variables(
        "`TMPDIR`, `TMP`, `TEMP`",
        OWN_ENVIRONMENT,
        TMPDIR=f"{MARKS}/tmp",
        TMP=f"{MARKS}/tmp",
        TEMP=f"{MARKS}/tmp",
    ),
    variables(
        "`XDG_*`",
        OWN_ENVIRONMENT,
        XDG_CONFIG_HOME=f"{MARKS}/tmp",
        XDG_CACHE_HOME=f"{MARKS}/cache",
        XDG_DATA_HOME=f"{MARKS}/tmp",
        XDG_RUNTIME_DIR=f"{MARKS}/run",
        XDG_CONFIG_DIRS=f"{MARKS}/tmp",
    ),
    variables("`TZ`, `TZDIR`", OWN_ENVIRONMENT, TZ=":/etc/shadow", TZDIR=str(FOLDER)),
    variables(
        "`BASH_ENV`, `ENV`, `SHELLOPTS`, `PS4`, `IFS`",
        "no shell is started before the decision",
        BASH_ENV=f"{FOLDER}/startup.py",
        ENV=f"{FOLDER}/startup.py",
        SHELLOPTS="xtrace",
        PS4=f"$(touch {MARKS}/ps4)",
        IFS="/",
    ),
    variables(
        "`IAMPASS_SERVER` and similar names",
        "settings come from `iampass.yaml` only",
        IAMPASS_SERVER="https://{server}",
        IAMPASS_CONFIG=f"{FOLDER}/iampass.yaml",
        IAMPASS_APPLICATION_ID="evil",
        IAMPASS_APPLICATION_SECRET="evil",
        IAMPASS_USER="root",
        IAMPASS_OUTCOME="approved",
        APPLICATION_ID="evil",
    ),
    variables(
        "`SSH_AUTH_INFO_0`, to claim a login through sshd with an accepted key",
        "it is read from the PAM environment, which only sshd sets",
        SSH_AUTH_INFO_0="publickey ssh-ed25519 AAAA",
        SSH_CONNECTION="127.0.0.1 1 127.0.0.1 22",
    ),
    variables(
        "`NOTIFY_SOCKET`, `WATCHDOG_USEC`, `JOURNAL_STREAM`",
        OWN_ENVIRONMENT,
        NOTIFY_SOCKET=f"{FOLDER}/notify",
        WATCHDOG_USEC="1",
        JOURNAL_STREAM="1:1",
    ),
    variables(
        "`LISTEN_FDS`, `LISTEN_PID`, `LISTEN_FDNAMES`",
        OWN_ENVIRONMENT,
        LISTEN_FDS="3",
        LISTEN_PID="1",
        LISTEN_FDNAMES="pam.sock",
    ),
    variables(
        "`KRB5_CONFIG`, `KRB5CCNAME`, `TERMINFO`, `PERL5LIB`",
        OWN_ENVIRONMENT,
        KRB5_CONFIG=f"{FOLDER}/netrc",
        KRB5CCNAME=f"FILE:{MARKS}/ticket",
        TERMINFO=str(FOLDER),
        PERL5LIB=str(FOLDER),
    ),
    variables(
        "variables with control characters, quotes and spaces",
        OWN_ENVIRONMENT,
        A="\x1b]0;x\x07\n outcome=approved result=success",
        B="%n%n%n%s",
        **{"C D": "'\"`$(id)`"},  # type: ignore[arg-type]
    ),
    Attack("an environment of over 64 KiB", OWN_ENVIRONMENT, Process(filling=100), variable=True),
)


def _everything() -> Attack:
    environment = {
        name: value for attack in ENVIRONMENT for name, value in attack.process.environment.items()
    }
    return Attack("all of these variables at once", OWN_ENVIRONMENT, Process(environment, filling=100))


def limit(name: str, *values: int) -> tuple[Attack, ...]:
    """Attacks by a limit of setrlimit(2)."""
    return tuple(
        Attack(f"`RLIMIT_{name.upper()}` {value}", LIMITS, Process(limits={name: value}), harmless=False)
        for value in values
    )


MIB = 1 << 20
ALL_SIGNALS = tuple(sorted(set(range(1, 32)) - {signal.SIGKILL, signal.SIGSTOP}))


def ignoring(*numbers: int) -> Process:
    """A process that ignores signals."""
    return Process(ignored=numbers)


PROCESS = (
    *(
        Attack(
            f"descriptor{'s' * (len(closed) > 1)} {', '.join(map(str, closed))} closed",
            ABOVE_STANDARD,
            Process(closed=closed),
            harmless=0 not in closed,
        )
        for closed in ((0,), (1,), (2,), (0, 1), (0, 2), (1, 2), (0, 1, 2))
    ),
    *limit("nofile", 0, 3, 4, 6, 10),
    *limit("as", 4 * MIB, 30 * MIB),
    *limit("fsize", 0),
    *limit("nproc", 0),
    *limit("cpu", 1),
    *limit("data", 0),
    *limit("stack", 4096),
    *limit("sigpending", 0),
    Attack("unlimited `RLIMIT_CORE`", LIMITS, Process(limits={"core": -1}, folder=str(MARKS / "tmp"))),
    Attack("SIGCHLD ignored", SIGNALS, ignoring(signal.SIGCHLD), harmless=False),
    Attack("SIGPIPE ignored", SIGNALS, ignoring(signal.SIGPIPE)),
    Attack("SIGALRM ignored", SIGNALS, ignoring(signal.SIGALRM)),
    Attack("SIGTERM, SIGINT, SIGHUP, SIGQUIT ignored", SIGNALS, ignoring(1, 2, 3, 15)),
    Attack("all signals ignored", SIGNALS, ignoring(*ALL_SIGNALS), harmless=False),
    Attack("all signals blocked", SIGNALS, Process(blocked=ALL_SIGNALS), harmless=False),
    Attack(
        "a working directory full of `.py` files with names of the standard library and of this package",
        OUT_OF_PLACE,
        Process(folder=f"{FOLDER}/modules"),
    ),
    Attack("a working directory that was removed", OUT_OF_PLACE, Process(folder="gone")),
    Attack("a working directory that nobody may enter", OUT_OF_PLACE, Process(folder="closed")),
    *(
        Attack(f"argv[0] is {what}", "nothing uses it", Process(called=called), harmless=harmless)
        for what, called, harmless in (
            ("a planted interpreter", f"{FOLDER}/prefix/bin/python3", True),
            ("that of a login shell", "-su", True),
            ("4,000 characters long", "a" * 4000, True),
            ("text with control characters", "su\x1b]0;x\x07\n%n%s outcome=approved result=success", True),
        )
    ),
    Attack(
        "argv[0] is `sudoedit`",
        "sudoedit calls PAM before it edits anything, like sudo before a command",
        Process({"SUDO_EDITOR": "/bin/true"}, called="sudoedit"),
        harmless=False,
    ),
    Attack(
        "traced by the user's own process (ptrace)",
        "the kernel starts a traced program without set-uid rights, and the door denies without them",
        Process(traced=True),
        harmless=False,
    ),
)

ATTACKS = (*ENVIRONMENT, _everything(), *PROCESS)


@dataclass(frozen=True)
class Tested:
    """Something that has a test of its own, for the page about attacks."""

    what: str
    answer: str
    test: str
    """The name of the test function."""


OTHERS = {
    "test_attacks_socket": (
        Tested(
            "a planted socket in place of the agent's: with another owner, given away to root, behind a symbolic or "
            "hard link, open to others, in a directory that others can write to; or a file",
            "the door checks socket, directory and peer, and denies unless they are root's alone",
            "test_a_planted_socket_is_a_denial",
        ),
        Tested(
            "another user connects to the agent's socket, or fills its queue",
            "the socket belongs to root, with mode 0600",
            "test_another_user_can_neither_connect_to_the_agent_nor_fill_its_queue",
        ),
        Tested(
            "another user connects to the agent's socket after its mode was changed",
            "the agent closes connections from any user id (`SO_PEERCRED`) but root's",
            "test_the_agent_itself_turns_away_who_is_not_root",
        ),
        Tested(
            "removing, renaming or linking the socket; reading the secret, the user table or the state",
            "only root, or the module's user, can write to these directories or read these files",
            "test_another_user_can_neither_plant_nor_read_anything_of_ours",
        ),
        Tested(
            "(control: what the planted socket says if the door trusts it)",
            "it approves everything; if it belongs to root, the login succeeds",
            "test_what_the_planted_socket_says_would_count_if_it_were_roots",
        ),
    ),
    "test_attacks_packages": (
        Tested(
            "a `.pth` file, `usercustomize`, and packages named `requests`, `yaml`, `pam_iampass` and so on, in "
            "`/usr/local` and in `~/.local`",
            "`python3 -I -S`, with only the package's directory added to the path",
            "test_a_login_runs_nothing_of_it",
        ),
        Tested(
            "(control: an ordinary interpreter)",
            "runs them, with `-I` too; only `-S` prevents it",
            "test_an_ordinary_interpreter_runs_it",
        ),
    ),
    "test_attacks_meanwhile": (
        Tested(
            "su is stopped while the phone denies",
            "the denial is still there when it continues",
            "test_a_denial_counts_though_su_was_stopped_meanwhile",
        ),
        Tested(
            "sudo is stopped while the phone denies",
            "the denial is still there when it continues",
            "test_a_denial_counts_though_sudo_was_stopped_meanwhile",
        ),
        Tested(
            "su is stopped while the phone approves",
            "the approval counts, within the deadline",
            "test_an_approval_counts_though_su_was_stopped_for_a_moment",
        ),
        Tested(
            "su is stopped beyond the deadline, to use the approval later",
            "the door checks the clock before it reads an answer",
            "test_an_approval_is_worth_nothing_to_an_su_that_is_stopped_beyond_its_time",
        ),
        Tested(
            "sudo is stopped beyond the deadline, to use the approval later",
            "the door checks the clock before it reads an answer",
            "test_an_approval_is_worth_nothing_to_a_sudo_that_is_stopped_beyond_its_time",
        ),
        Tested(
            "a storm of signals while the phone rings",
            "after each signal, the door recomputes the remaining time from the clock",
            "test_a_storm_of_signals_neither_shortens_nor_lengthens_the_wait",
        ),
        Tested(
            "inspecting the program or the agent (ptrace, `/proc`), or sending signals to the agent",
            "the program is set-uid, the agent runs as the user `_iampass`",
            "test_the_caller_can_look_into_neither_the_program_nor_the_module",
        ),
    ),
    "test_attacks_names": (
        Tested(
            "a user name with line breaks, escape sequences, bidi controls, paths, options or format strings, or with "
            "4,000 characters",
            "a name unknown to NSS is denied before any request; records are sanitized",
            "test_a_name_that_is_no_account_is_denied_and_nobody_is_asked",
        ),
        Tested(
            "the same in terminal, remote host and remote user",
            "only the record uses them, and it is sanitized",
            "test_odd_text_in_other_items_neither_lets_in_nor_stains_the_record",
        ),
        Tested(
            "a terminal name of 70,000 characters",
            "the door denies items that do not fit into a frame",
            "test_items_that_fit_into_no_frame_are_a_denial_by_the_door",
        ),
    ),
    "test_attacks_approver": (
        Tested(
            "su to another user whose password is known, with an approval on the caller's own phone",
            "the caller approves only if the target is root: the target's phone is asked, and the record says "
            "who called and who was asked",
            "test_a_user_who_knows_the_password_of_another_user_does_not_become_them_by_a_phone_of_their_own",
        ),
        Tested(
            "(control: the same with an approval on the target's phone)",
            "succeeds",
            "test_another_user_approves_themselves",
        ),
        Tested(
            "the same by a caller who is exempt",
            "an exemption applies to the user whose phone would be asked: the caller for root, else the target",
            "test_an_exempt_caller_becomes_root_without_a_phone_and_no_other_user",
        ),
        Tested(
            "a set-uid program that names another user as its caller (PAM_RUSER)",
            "denied: PAM_RUSER must match the real user id",
            "test_a_caller_who_names_another_user_is_denied_and_nobody_is_asked",
        ),
        Tested(
            "(control: the same with the right name)",
            "the caller's phone is asked",
            "test_a_caller_is_believed_where_the_process_is_theirs",
        ),
        Tested(
            "a process of root passes on a user name from a remote host as PAM_RUSER",
            "denied: PAM_RUSER must match the real user id",
            "test_a_name_from_afar_is_not_believed",
        ),
        Tested(
            "`USER`, `LOGNAME`, `PAM_RUSER`, `SUDO_USER` and others name another user",
            "no variable is read: the caller's phone is asked",
            "test_a_variable_of_the_caller_names_nobody",
        ),
    ),
}

AROUND = {
    "test_sudoers": (
        Tested(
            "another rule of sudoers: `!authenticate`, `exempt_group`, another PAM service, for some users, groups, "
            "hosts, commands or targets",
            "nothing in sudo: the administrator wrote it",
            "test_real_sudo_runs_the_command_and_no_phone_rings",
        ),
        Tested(
            "the same",
            "`check` reports it, with file, line and users",
            "test_check_reports_each_rule_with_its_line_and_the_user",
        ),
        Tested(
            "the same",
            "`setup sudo` refuses other PAM services, and warns of the other rules",
            "test_setup_refuses_services_that_do_not_ask_and_warns_of_the_other_rules",
        ),
        Tested(
            "`rootpw`, `targetpw`, `runaspw`: the password of root or of another user, who is exempt",
            "the caller's phone is asked",
            "test_real_sudo_with_the_password_of_another_user_asks_the_phone_of_its_caller",
        ),
        Tested(
            "sudo-rs, also with `rootpw` or `targetpw`",
            "the same",
            "test_real_sudo_rs_asks_the_phone_of_its_caller",
        ),
    ),
    "test_ways_in": (
        Tested(
            "doas, sudo-rs, which do not use sudo's PAM service",
            "`check` lists them until the command that it names has set them up",
            "test_a_way_in_is_listed_until_it_asks_the_phone",
        ),
        Tested(
            "su, or only `su -`, with a PAM file that does not ask",
            "`check` lists it; half of it is a warning",
            "test_su_is_listed_where_it_does_not_ask_and_half_of_it_is_a_warning",
        ),
        Tested(
            "`nopass` in doas.conf",
            "`check` lists the line",
            "test_a_command_of_doas_without_a_password_is_listed_with_its_line",
        ),
        Tested(
            "`nopass` in doas.conf, where sudo asks for every command",
            "`check` warns of it",
            "test_a_command_of_doas_without_a_password_is_a_warning_where_sudo_asks_for_every_command",
        ),
        Tested(
            "polkit, whose PAM file is in /usr/lib/pam.d",
            "`check` lists it",
            "test_polkit_is_a_way_in_where_its_file_is_in_another_folder",
        ),
        Tested(
            "a member of the group `empower`, whom a rule of systemd 259 and later lets pass every check of polkit",
            "`check` names the members",
            "test_whom_a_rule_of_systemd_lets_pass_every_check_of_polkit_is_listed",
        ),
        Tested(
            "a set-uid program or a PAM service that nobody knows",
            "`check` lists it as unknown",
            "test_unknown_programs_and_services_that_ask_for_the_password_only_are_listed",
        ),
        Tested(
            "a set-uid program or a server that lets users in without PAM",
            "`check` lists it by its name",
            "test_programs_that_let_in_without_pam_are_listed_by_name",
        ),
        Tested(
            "(control: the console, and programs that change accounts)",
            "the console is listed as the way in during an outage; the others are not listed",
            "test_the_console_may_stay_open_and_programs_that_change_accounts_are_no_ways_in",
        ),
    ),
}
"""Ways around sudo's phone: tests by file."""

IN_PROCESS = (
    Tested(
        "`PATH` with a planted standard library",
        "**runs as root**, in su, and in sudo without `secure_path`",
        "test_the_callers_path_chooses_the_standard_library_that_runs_as_root",
    ),
    Tested(
        "the same in sudo with `secure_path`",
        "does not work, but depends on a setting of sudo",
        "test_a_secure_path_saves_sudo_from_that",
    ),
    Tested(
        "any variable",
        "the module sees it in `os.environ`, and is root",
        "test_the_module_sees_the_callers_environment_and_is_root",
    ),
    Tested(
        "`HTTPS_PROXY`",
        "**requests uses it**, unless `trust_env` is off",
        "test_a_proxy_of_the_callers_is_used",
    ),
    Tested(
        "`SSLKEYLOGFILE`",
        "**root writes the connection's keys** to a file that the caller names",
        "test_the_keys_of_the_connection_are_written_for_the_caller_by_root",
    ),
    Tested(
        "`OPENSSL_CONF`",
        "does not work: OpenSSL ignores it in a set-uid program",
        "test_openssl_itself_ignores_the_callers_configuration_in_a_set_uid_program",
    ),
    Tested("a `.pth` file in `/usr/local`", "**runs as root**", "test_a_pth_file_in_usr_local_runs"),
    Tested("`RLIMIT_AS` of 30 MiB", "kills the module, in su", "test_a_limit_of_the_callers_kills_it_in_su"),
    Tested(
        "the caller's descriptors",
        "what a library prints appears on the caller's screen",
        "test_the_descriptors_of_the_standard_streams_are_the_callers",
    ),
    Tested(
        "the shipped pam_python door",
        "denies in a set-uid program, but only after the interpreter has started",
        "test_the_shipped_pam_python_door_refuses_a_set_uid_program",
    ),
)


def aimed(process: Process, server: str) -> Process:
    """The process, with the address of the attacker's server in its variables."""
    return replace(
        process,
        environment={name: value.replace("{server}", server) for name, value in process.environment.items()},
    )
