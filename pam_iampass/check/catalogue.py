"""Every kind of finding, with its meaning and its remedy. `docs/reference/findings.md` is generated from it."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from pathlib import Path

from pam_iampass.errors import Problem, Severity
from pam_iampass.system.trusted_folder import shell_word
from pam_iampass.text import clean


@dataclass(frozen=True)
class FindingKind:
    """A kind of finding: `docs/reference/findings.md` lists them all."""

    id: str
    title: str
    """The problem, in a line; words in braces are filled in."""
    meaning: str
    """The explanation for the page; empty if the title says it all."""
    remedy: str
    """The advice, in a line; words in braces are filled in."""
    severity: Severity
    rollout: bool = False
    """Whether it is normal while users and services are being added one by one: `--monitoring` takes it for a note."""


error_kind = partial(FindingKind, severity=Severity.ERROR)
warning_kind = partial(FindingKind, severity=Severity.WARNING)
note_kind = partial(FindingKind, severity=Severity.NOTE)
_METHODS = "Set AuthenticationMethods publickey,keyboard-interactive:pam"

WAYS_IN = "Ways in without the phone"
"""The section of findings about what does not ask the phone, which may be intended."""

SECTIONS: dict[str, tuple[FindingKind, ...]] = {
    "Configuration and files": (
        error_kind(
            "configuration-error",
            "The configuration has an error: {what}",
            "All logins are denied until it is fixed; with an error in a file of `users.d`, only those of that user.",
            "{remedy}",
        ),
        warning_kind(
            "configuration-warning",
            "The configuration is valid, but probably not intended: {what}",
            "",
            "{remedy}",
        ),
        error_kind(
            "configuration-readable",
            "Others can read settings or tokens: {what}",
            "Only root and `_iampass` may read them, also by access control lists. Anyone else, also another member of"
            " the group `_iampass`, could register a phone in anybody's name. If others can read the secret, every"
            " login is denied.",
            "{remedy}",
        ),
        error_kind(
            "account-cannot-act",
            "An account cannot act for the person whom the user table names: {what}",
            "The logins of this account are denied. [settings.md](settings.md#usersyaml-and-usersd) has the rules for"
            " `acts_for`.",
            "{remedy}",
        ),
        note_kind(
            "service-off",
            "The settings name a service that is not switched on yet: {what}",
            "`services`, `session.covers` or a bypass names this PAM service. If no such PAM service exists, this is"
            " an error.",
            "{remedy}",
        ),
        error_kind(
            "switched-off",
            "{what}",
            "A package, a role of Ansible or a person changed the PAM file, or pam-iampass was removed. Missing lines"
            " are added again, at most three times an hour. Lines that were commented out or removed with the package"
            " are not: run `setup` or `setup undo` for the service.",
            "{remedy}",
        ),
        error_kind(
            "account-missing",
            "The user _iampass does not exist",
            "The agent runs as this user. Every login is denied.",
            "systemd-sysusers /usr/lib/sysusers.d/pam-iampass.conf, then chgrp -R _iampass /etc/iampass",
        ),
        error_kind(
            "file-writable",
            "Users other than root can change {path}",
            "They can run code as root through this PAM file, module or program.",
            "{remedy}",
        ),
        error_kind(
            "packages-missing",
            "The module cannot be loaded: {what}",
            "`/usr/bin/python3 -I -S` finds no module or no package that it needs, for example after an upgrade of"
            " Python. Every login is denied.",
            "Install pam-iampass and python3-yaml for this Python",
        ),
        error_kind(
            "state-full",
            "There is no room for the agent's state in {path}",
            "Logins go on, with the phone and with recovery codes, because the agent has a reserve. When the reserve"
            " is used up, no session is kept, and new bypasses and codes can fail. On a read-only disk, recovery codes"
            " are refused. [state.md](state.md#when-something-is-wrong) has each case.",
            "Free some space there (df {path}), or remount it read-write; no restart is needed",
        ),
    ),
    "Agent": (
        error_kind(
            "state-unusable",
            "The agent cannot use its state",
            "Logins with the phone go on. Recovery codes are refused, bypasses fail, and no new session is kept"
            " ([state.md](state.md#when-something-is-wrong)). Repeat `pam-iampass phone lost` for phones that IAMPASS"
            " has not disabled yet: an agent that starts now does not know them.",
            "{remedy}",
        ),
        warning_kind(
            "agent-outdated",
            "The agent runs version {running}; {installed} is installed",
            "It decides logins as that version does. Normally a new agent takes over when no login waits, after five"
            " minutes at most.",
            "systemctl restart pam-iampass-agent.service",
        ),
        error_kind(
            "unit-off",
            "{unit} is {state}",
            "Without its socket unit, the agent does not start after a reboot; if its service is masked, it does not"
            " start at all. Every login that asks the phone is then denied. For the unit that watches PAM files, this"
            " is a warning: only the package manager and the hourly timer then add lost lines again.",
            "systemctl unmask {starter} {service}; systemctl enable --now {starter}",
        ),
        error_kind(
            "agent-off",
            "The agent cannot be reached: {what}",
            "Every login that asks the phone is denied. `/run/iampass/pam.sock` must be a socket of root with mode"
            " 0600, in a folder to which only root can write. If only `/run/iampass/control.sock` does not answer,"
            " this is a warning: `throttle`, `recovery`, `bypass`, `session`, `phone lost` and `user remove` fail.",
            "{remedy}",
        ),
        error_kind(
            "selinux-denies",
            "SELinux blocks the agent: {what}",
            "Logins that ask the phone are denied. [selinux.md](selinux.md) has the policy and its booleans. A file"
            " that was moved keeps the label of its old place, and the agent cannot read it.",
            "{remedy}",
        ),
    ),
    "The service": (
        error_kind(
            "service-unreachable",
            "This machine cannot use {whom}",
            "Logins are denied. `unavailable: ignore` has an effect only if the name lookup or the connection fails,"
            " not if for example a certificate is not valid.",
            "{remedy}",
        ),
        error_kind(
            "application-unknown",
            "IAMPASS does not know the application {application}",
            "`application_id` is wrong or belongs to another `server`, or the application was deleted. Every login is"
            " denied.",
            "Copy application_id from the IAMPASS console to {file}, and check server",
        ),
        note_kind(
            "previous-secret-left",
            "{what}",
            "This is normal until the secret is changed at IAMPASS. While IAMPASS accepts only the second one, each"
            " login makes one more call.",
            "{remedy}",
        ),
        error_kind(
            "service-refused",
            "IAMPASS rejects the application id or the secret",
            "IAMPASS answered with 401 or 403. Every login is denied.",
            "Write the application's secret to {secret_file} again, and check application_id",
        ),
        warning_kind(
            "clock-off",
            "This machine's clock is {seconds} s {side} the server's",
            "If IAMPASS rejects the time of a call, each login needs one call more. Certificates may appear to be"
            " invalid.",
            "timedatectl set-ntp true, or enable another time service",
        ),
    ),
    "Users": (
        error_kind(
            "user-unknown",
            "The user {name} does not exist on this machine",
            "Logins under this name are denied before any prompt.",
            "getent passwd {name}; if the user is in a directory, check sssd",
        ),
        warning_kind(
            "entry-never-used",
            "Entries of the table are never used: {names}",
            "The entry has another spelling than `getent passwd` prints, or its account was deleted.",
            "Rename or remove them: pam-iampass user list --only without-account",
            rollout=True,
        ),
        note_kind(
            "users-without-token",
            "Users of this machine without a token are denied: {names}",
            "They are not in the table, and `unlisted_users` is `deny`. In a report about one user this is an error.",
            "pam-iampass enroll USER, or pam-iampass user add USER, for each user who needs to log in",
        ),
        warning_kind(
            "users-without-phone-check",
            "Users without a token log in without the phone: {names}",
            "",
            "pam-iampass enroll USER; then set unlisted_users: deny",
            rollout=True,
        ),
        note_kind(
            "user-exempt",
            "{name} logs in without a second factor",
            "The user, a group of the user, or the network of the login is exempt.",
            "None if this is intended; otherwise remove it from exempt in the settings",
        ),
        warning_kind(
            "user-bypassed",
            "{name} logs in without the phone for a while, through {service}",
            "An administrator has made a bypass. The first factor is still required.",
            "None if this is intended; otherwise: pam-iampass bypass end {name}",
            rollout=True,
        ),
        warning_kind(
            "no-device",
            "No phone is registered for {names}",
            "",
            "{command} enroll USER shows the link and the QR code; for a lost phone: {command} phone lost USER",
            rollout=True,
        ),
        warning_kind(
            "user-rests",
            "No request is sent to the phone of {names} for another {seconds} s",
            "Too many requests were denied, not answered or withdrawn: for this service and address, or for the user"
            " within an hour.",
            "Wait, or pam-iampass throttle clear USER",
        ),
        note_kind(
            "limits-go-on",
            "Logins work again, but no request is sent to {names} for up to {seconds} s",
            "Within the last hour, a fault of the settings or the service denied logins. Their requests that may have"
            " reached a phone count as not approved.",
            "Wait, or pam-iampass throttle clear USER",
        ),
        note_kind(
            "penalties-go-on",
            "Logins work again, but sshd may drop connections from {names} for about {seconds} s",
            "Within the last hour, a fault of the settings or the service denied logins. sshd counts them as failed"
            " (`PerSourcePenalties`), and drops connections from an address until its penalties are over.",
            "Wait, or end all penalties: systemctl reload ssh (Debian), systemctl reload sshd (Red Hat)",
        ),
        warning_kind(
            "not-at-iampass",
            "IAMPASS does not know the tokens of {names}",
            "The token is wrong or belongs to another application, or the user was deleted at IAMPASS.",
            "Compare the token with the one at IAMPASS, or add it there: pam-iampass enroll USER",
        ),
    ),
    "PAM stacks": (
        warning_kind(
            "nothing-asks",
            "No PAM service asks the phone",
            "",
            "pam-iampass setup sshd, or pam-iampass setup sudo",
            rollout=True,
        ),
        error_kind(
            "pam-broken",
            "The PAM file has an error",
            "Every login through this file fails: an included file is missing, a line is incomplete, or files include"
            " each other. If libpam can replace the line with a module that always fails, this is a warning.",
            "Correct the named file (pam.conf(5)), and keep a root shell open meanwhile",
        ),
        warning_kind(
            "stack-no-auth",
            "Our line is not an `auth` line, and does not ask the phone",
            "",
            "Write auth at the start of the line at {place}",
        ),
        warning_kind(
            "stack-not-called",
            "{service} does not ask the phone of those who log in {how}",
            "The program checks these users itself, without the `auth` stack. For cockpit this is an error if a keytab"
            " or `ClientCertAuthentication` makes such a login possible.",
            "{remedy}",
        ),
        warning_kind(
            "session-line-missing",
            "The session of {name} cannot be kept, or not be ended as a whole",
            "`session.keep` is set, but a `session` line of ours is missing, or comes before pam_systemd. Without the"
            " line, the phone cannot end the login. Before pam_systemd, the login cannot be locked, and only the"
            " program that opened it is ended.",
            "{command}; by hand, after pam_systemd: session optional pam_iampass.so",
        ),
        error_kind(
            "session-remembered",
            "{name} starts root shells that the phone cannot end",
            "sudo or doas remembers the password. A root shell that it starts then asks for neither password nor"
            " phone, and ends only with its login, which keeps no session. Set `session.keep` for every service through"
            " which people log in, and set these services up. Or use `Defaults timestamp_timeout=0` in sudoers, and no"
            " `persist` in doas.",
            "{remedy}",
        ),
        warning_kind(
            "enforcer-off",
            "Logins of {services} are neither ended nor locked by the phone",
            "",
            "systemctl enable --now pam-iampass-enforcer.socket; without systemd: pam-iampass-enforcer --socket",
        ),
        warning_kind(
            "owners-not-told",
            "No line on a terminal tells of requests of {agents}",
            "These accounts act for a person (`acts_for`). A line on each of the person's terminals says which account"
            " asks and for which command, and the service that writes it does not listen. The phone is asked all the"
            " same.",
            "systemctl enable --now pam-iampass-enforcer.socket; without systemd: pam-iampass-enforcer --socket",
        ),
        warning_kind(
            "sibling-unprotected",
            "{asking} asks the phone, and {other} does not",
            "`sudo -i` and `su -` have PAM services of their own: sudo-i and su-l.",
            "{remedy}",
        ),
        error_kind(
            "module-missing",
            "{module} is not installed",
            "If it is our module and `required`, every login fails. For another module this is a warning.",
            "Install the package that contains it, or remove the line",
        ),
        error_kind(
            "module-argument",
            "Our line has arguments with which every login is denied: {arguments}",
            "Valid are `config=/PATH`, `first_factor=publickey` (not on an `account` line), `rescue=NAME` and `debug`,"
            " each once.",
            "Correct the arguments of the line",
        ),
        error_kind(
            "stack-approved-fails",
            "Users cannot log in, although their first factor is right and they approve",
            "A module in the `auth` stack, or in sshd's `account` stack, is missing or always denies.",
            "Check the lines around {place}; pam_iampass(8) shows what pam-iampass setup writes",
        ),
        error_kind(
            "stack-denial-passes",
            "A denial on the phone lets users in",
            "The control of our line (`optional`, `sufficient`, `[default=ignore]`) lets the stack succeed when the"
            " module denies, crashes or is missing. Or a line before ours in sshd's `account` stack results in"
            " `new_authtok_reqd`.",
            "Write `required` on the line at {place}; on an account line `requisite`, before the shared file",
        ),
        error_kind(
            "refusal-lost",
            "An approval lets in users whom another line keeps out",
            "",
            "pam-iampass setup {service} writes our lines so that all others count. By hand: `required` or `requisite`"
            " on our line, and no jump over {place}",
        ),
        error_kind(
            "stack-wrong-passes",
            "A wrong password gets in",
            "With a wrong first factor the stack succeeds for exempt users, for everybody, or after an approval.",
            "Put `requisite` on the line of the password, before {place}",
        ),
        error_kind(
            "stack-unprivileged",
            "A program that is not root asks the phone: each of its logins is denied",
            "Only root reaches the agent: a screen locker never unlocks, a server with a user of its own lets nobody"
            " in. Its PAM file includes another one that asks the phone, such as login, or common-auth after"
            " `pam-auth-update --enable iampass`.",
            "pam-auth-update --disable iampass, then name the services: pam-iampass setup sshd sudo. Or make"
            " /etc/pam.d/{service} name pam_unix.so itself: auth required pam_unix.so",
        ),
        error_kind(
            "stack-skipped",
            "A right password gets in without the phone",
            "A line before ours ends the stack: `sufficient`, `done`, a jump, or `sufficient` in an included file"
            " (RHEL's system-auth). In sshd's `account` stack, Debian's common-account does so for an expired"
            " password, and Red Hat's password-auth for local users.",
            "Move our line at {place} before the line that ends the stack; in auth, put a `requisite` line of the"
            " password (pam_unix.so or pam_sss.so) in the place of that line",
        ),
        note_kind(
            "stack-skipped-sometimes",
            "The phone is not asked if {condition}",
            "",
            "None if this is intended; otherwise change the control of that line",
        ),
        warning_kind(
            "stack-not-all",
            "{count} modules of the stack may succeed or fail: not all combinations were simulated",
            "With more than 10,000 combinations, `check` can miss a way past our line that takes three modules.",
            "Have fewer lines in {file} and in what it includes, or look for ways past our line by hand",
        ),
        warning_kind(
            "stack-wrong-rings",
            "The phone is asked before the first factor was right",
            "Anyone who knows a user name can send requests, until the user approves one out of habit. The stack"
            " continues after `required` and `substack`, or our line is before the password. sshd runs its `account`"
            " stack right after keyboard-interactive, even if another method follows.",
            "Write `requisite` or [success=ok default=die] on the line of the password, before our line; in"
            " AuthenticationMethods, keyboard-interactive last",
        ),
        warning_kind(
            "stack-ignored-fails",
            "Logins fail where our module ignores the call",
            "The module ignores the calls of exempt users, calls in tolerated outages, and those of sshd and su to set"
            " credentials (pam_setcred). A stack fails if every module ignores the call. If approved logins fail, this"
            " is an error.",
            "After our line write: {facility} required pam_permit.so",
        ),
        warning_kind(
            "stack-phone-only",
            "The phone is the only factor",
            "",
            "Before our line write: auth requisite pam_unix.so",
        ),
        error_kind(
            "pam-python-set-uid",
            "pam_python in a set-uid program lets its caller become root",
            "The interpreter finds its library through the caller's PATH, and so runs the caller's code as root.",
            "Replace pam_python.so and the script with pam_iampass.so, at {place}",
        ),
    ),
    "sshd": (
        error_kind(
            "sshd-broken",
            "sshd rejects its configuration",
            "A running sshd keeps its previous configuration. After a restart nobody can log in.",
            "Correct the named line; keep this shell open until sshd -t reports nothing",
        ),
        error_kind(
            "sshd-pam-off",
            "sshd does not use PAM",
            "With `UsePAM no`, a key or a password alone is enough.",
            "Set UsePAM yes",
        ),
        error_kind(
            "sshd-key-bypasses",
            "{how} gets in without the phone: {names}",
            "For a key, sshd runs PAM's `auth` stack only if every list in AuthenticationMethods contains"
            " keyboard-interactive.",
            _METHODS,
        ),
        warning_kind(
            "sshd-prompt-skipped",
            "sshd does not show the prompt: {names}",
            "The phone is asked after the key, but nobody can type a recovery code. sshd uses the first"
            " AuthenticationMethods that it reads, and reads this one before that of `setup sshd --prompt`.",
            "Remove that AuthenticationMethods; or, if there is to be no prompt: pam-iampass setup sshd --no-prompt",
        ),
        error_kind(
            "sshd-unasked",
            "Logins by ssh do not ask the phone: {names}",
            "PAMServiceName, a Match block or an option of that sshd gives these logins another PAM service.",
            "Remove PAMServiceName there; to spare users the phone, name them in exempt in the settings",
        ),
        warning_kind(
            "sshd-match-unknown",
            "It is not known what a Match block does",
            "The block decides whether the phone is asked. `check` found no connection or user that it matches, for"
            " example no member of its group.",
            "Try it with one that it matches: sshd -T -C user=USER,host=HOST,addr=ADDRESS,laddr=LOCAL,lport=22",
        ),
        warning_kind(
            "sshd-instance-unknown",
            "It is not known with which settings another sshd runs: {name}",
            "`check` cannot evaluate the options of this sshd: specifiers, options that a shell expands, or a command"
            " line that was changed. It runs only the installed sshd, with a configuration that only root can write.",
            "Look at its settings: sshd -T with its options",
        ),
        error_kind(
            "sshd-exempt-prompted",
            "sshd does not spare exempt users the prompt: {what}",
            "Ansible, `BatchMode=yes` and most scripts cannot log in. The Match blocks of `setup sshd --prompt` are"
            " older than `exempt` and `asked` in the settings, or sshd reads another block first. A block cannot"
            " contain a name with `*`, `?`, `!` or a comma: exempt such users by a group.",
            "pam-iampass setup sshd",
        ),
        note_kind(
            "sshd-no-code",
            "No recovery code can be typed at sshd: {names}",
            "Another AuthenticationMethods or KbdInteractiveAuthentication takes precedence over `setup sshd --codes`."
            " If nobody can type a code, this is a warning.",
            "Add a list of methods there, such as AuthenticationMethods publickey keyboard-interactive:pam,publickey",
        ),
        warning_kind(
            "sshd-code-before-password",
            "sshd asks for a recovery code before the password, or accepts no password: {names}",
            "PasswordAuthentication was switched on after `setup sshd --codes`, which serves logins by key.",
            "pam-iampass setup sshd --no-prompt, or set PasswordAuthentication no",
        ),
        error_kind(
            "sshd-no-prompt",
            "sshd requires keyboard-interactive, which is off: {names}",
            "AuthenticationMethods requires it of these users: they cannot log in.",
            "Set KbdInteractiveAuthentication yes",
        ),
        warning_kind(
            "sshd-password-method",
            "sshd accepts passwords by a method that shows no messages: {names}",
            "With the method `password`, users do not see that a request was sent to the phone.",
            "Set PasswordAuthentication no, and leave the password to keyboard-interactive",
        ),
        error_kind(
            "sshd-phone-only",
            "The phone alone is enough for ssh, or nothing: {names}",
            "The PAM stack asks for no password, and AuthenticationMethods requires no key. An exempt user needs"
            " nothing at all.",
            f"{_METHODS}, and first_factor=publickey on our auth line; or have the PAM file of {{place}} ask for the"
            " password: `@include common-auth` (Red Hat: auth substack password-auth)",
        ),
        error_kind(
            "sshd-key-not-demanded",
            "Our line requires a key, and sshd does not ask for one first: {names}",
            "With `first_factor=publickey` the module then denies these logins.",
            _METHODS,
        ),
        warning_kind(
            "sshd-grace-short",
            "sshd ends a login after {grace} s, but users have {timeout} s to approve",
            "LoginGraceTime includes key, password and prompt: it should be 30 s longer than `timeout`. sshd penalizes"
            " clients that exceed it.",
            "Set LoginGraceTime {enough}, or a shorter timeout in the settings",
        ),
        warning_kind(
            "sshd-root-refused",
            "sshd refuses root even after an approval",
            "With `PermitRootLogin prohibit-password`, sshd refuses root after keyboard-interactive. If root has no"
            " token, this is a note.",
            "Set PermitRootLogin yes with AuthenticationMethods publickey,keyboard-interactive:pam, or no",
        ),
        note_kind(
            "sshd-limits",
            "sshd may refuse connections: {what}",
            "Logins that wait for a phone reach sshd's limits sooner, above all behind a bastion, NAT or proxy, where"
            " people share an address. A low `MaxAuthTries` is a warning."
            " [operations.md](../one-server/operations.md#sshd-turns-clients-away-before-the-phone-is-asked) says"
            " which values to set.",
            "{remedy}",
        ),
        warning_kind(
            "sshd-stale",
            "The running sshd has not loaded its present configuration",
            "",
            "sshd -t && systemctl reload ssh (sshd on other systems), and keep this shell open",
        ),
    ),
    "sudo": (
        error_kind(
            "sudoers-unread",
            "The rules of sudo cannot be read, and may lead around the phone",
            "`visudo -c` or `cvtsudoers` is missing or has failed. If `visudo -c` rejects the rules, sudo may refuse"
            " everybody.",
            "{remedy}",
        ),
        error_kind(
            "sudo-rule-bypasses",
            "{rule}: sudo asks for neither password nor phone: {names}",
            "With `!authenticate` and `exempt_group`, sudo does not run PAM's `auth` stack. `check` does not evaluate"
            " whether sudo allows these users anything, or whether another line replaces this one.",
            "Remove it with visudo; to spare users the phone, name them in exempt in the settings",
        ),
        error_kind(
            "sudo-other-service",
            "{rule}: sudo uses a PAM service that does not ask the phone: {names}",
            "`pam_service`, `pam_login_service` (`sudo -i`) or `pam_askpass_service` (`sudo -A`) is set, perhaps only"
            " for some users, hosts or commands.",
            "Remove it with visudo",
        ),
        error_kind(
            "sudo-no-account-phase",
            "{rule}: sudo does not ask the phone for commands that need no password: {names}",
            "`setup sudo --always` asks in PAM's `account` stack, which sudo does not run with `!pam_acct_mgmt`.",
            "Remove it with visudo",
        ),
        warning_kind(
            "sudo-asks-another",
            "{rule}: sudo asks for the password and the phone of another user: {names}",
            "With `rootpw`, `targetpw` or `runaspw` and `approver: user`, that other user has to approve. `approver:"
            " user` is the default for PAM services other than sudo and sudo-i. If root is exempt, this is an error:"
            " root's password is enough.",
            "In the settings, write approver: caller under services and {service}",
        ),
        warning_kind(
            "sudo-never-asks-again",
            "{rule}: sudo does not ask again where it should: {names}",
            "With a negative `timestamp_timeout`, sudo asks once until the next boot. In shared accounts,"
            " `timestamp_type=global` is an error: after one person has approved, sudo asks nobody else. With"
            " `timestampdir` or `timestampowner`, sudo does not ask again after a kept session was revoked or ended.",
            "Remove it with visudo",
        ),
    ),
    WAYS_IN: (
        note_kind(
            "sudo-no-password",
            "{rule}: sudo asks for neither password nor phone: {names}",
            "",
            "None if this is intended; otherwise remove NOPASSWD with visudo, or: pam-iampass setup sudo --always",
        ),
        note_kind(
            "way-in-open",
            "{program} does not ask the phone",
            "The password is enough for this program, or no password is needed. `check` examines sshd, sudo, polkit and"
            " set-uid programs.",
            "To protect it: pam-iampass setup {name}",
        ),
        note_kind(
            "way-in-console",
            "{program} does not ask the phone",
            "This is the console, or a display manager.",
            "Leave it open as the way in while IAMPASS is unreachable; or pam-iampass setup {name}",
        ),
        note_kind(
            "way-in-unknown-program",
            "An unknown set-uid program uses PAM, perhaps without asking the phone: {path}",
            "`check` does not know its PAM service.",
            "Find its PAM service in its documentation, then pam-iampass setup SERVICE",
        ),
        note_kind(
            "way-in-other-services",
            "Other PAM services do not ask the phone: {names}",
            "`check` does not know whether users can log in through them. Examples are file, mail and web servers.",
            "Leave those through which nobody can log in; for others: pam-iampass setup SERVICE",
        ),
        note_kind(
            "way-in-without-pam",
            "{program} lets users in without PAM, and never asks the phone",
            "No PAM file makes it ask. `check` knows the set-uid programs ksu, super, calife, userv and op, and the"
            " servers dropbear, tinysshd, lshd, tailscaled and teleport.",
            "{remedy}",
        ),
        note_kind(
            "doas-no-password",
            "doas asks for neither password nor phone: {rule}",
            "If sudo asks for every command, this is a warning.",
            "None if this is intended; otherwise remove nopass",
        ),
        warning_kind(
            "polkit-empower",
            "polkit asks neither password nor phone: {names}",
            "A rule of systemd 259 and later lets members of the group `empower` pass every check of polkit. `check`"
            " does not evaluate other rules of polkit.",
            "For each member: gpasswd --delete USER empower",
        ),
    ),
    "Being locked out": (
        warning_kind(
            "lockout-you",
            "You, {name}, cannot log in the next time: {why}",
            "",
            "pam-iampass enroll {name} (on a host of a gateway, there: pam-iampass-gateway user may {name} HOST),"
            " before you close this shell",
        ),
        warning_kind(
            "lockout-root",
            "root cannot log in by ssh: {why}",
            "",
            "pam-iampass enroll root (on a host of a gateway, there: pam-iampass-gateway enroll root), or exempt root,"
            " or set PermitRootLogin no",
        ),
        note_kind(
            "lockout-no-way-back",
            "Nobody can log in while IAMPASS is unreachable: no user is exempt or has recovery codes",
            "You can then log in only at the console. If the console asks the phone as well, this is a warning: there"
            " is no way in at all.",
            "pam-iampass recovery new USER for users who must get in, or exempt an emergency account",
        ),
    ),
    "Hosts of a gateway": (
        error_kind(
            "gateway-refuses",
            "The gateway accepts no requests from this host: {what}",
            "The host waits for admission, or was suspended or removed. Every login is denied.",
            "At the gateway: pam-iampass-gateway host list, then host admit or host resume; one that was removed:"
            " pam-iampass leave, and join again",
        ),
        warning_kind(
            "gateway-away",
            "A gateway of this host does not serve it: {url}",
            "Logins go on at the other gateways. A login that asks this one first takes up to three seconds longer.",
            "See to that gateway; if it is gone for good, take it out of `gateways` in gateway.yaml, and then: "
            "pam-iampass join --update",
        ),
        warning_kind(
            "gateways-differ",
            "The fleet has other gateways than this host knows: {gateways}",
            "If none of the gateways that this host knows answers, every login is denied.",
            "pam-iampass join --update",
        ),
        warning_kind(
            "presence-not-kept",
            "{what} no login on another host, although the gateway allows it: session.keep is off for sshd",
            "",
            "Set session.keep: true, in general or for the service sshd; then: pam-iampass setup sshd",
        ),
        warning_kind(
            "gateway-secret-left",
            "An application's secret may be left on a host that has joined a gateway: {files}",
            "With the secret, root of this machine can register phones for everybody. `pam-iampass join` keeps it for"
            " `leave`.",
            "Delete it once this machine stays, and change the secret at IAMPASS if others may have read it",
        ),
        note_kind(
            "users-not-on-this-host",
            "Users of this machine who may not log in here, as the gateway says: {names}",
            "The gateway does not know them, or none of their groups may log in to this host.",
            "At the gateway: pam-iampass-gateway user may USER {host}",
        ),
    ),
}
"""All kinds, by subject."""

WAY_IN_KINDS = frozenset(kind.id for kind in SECTIONS[WAYS_IN])
"""The ids of that section."""

KINDS = {kind.id: kind for kinds in SECTIONS.values() for kind in kinds}
"""All kinds, by id."""


def finding(
    kind_id: str, subject: str, evidence: str, severity: Severity | None = None, **words: object
) -> Problem:
    """A finding of a kind of this catalogue. `words` fill in its title and its remedy; everything is cleaned."""
    return of_kind(KINDS[kind_id], subject, evidence, severity, **words)


def two_secrets(file: Path, everywhere: str, *, is_second: bool) -> tuple[str, str]:
    """Title and remedy of `previous-secret-left`: `file` has two secrets, of which IAMPASS accepts the first or, with
    `is_second`, the second."""
    accepted = "second" if is_second else "first"
    remedy = f"Delete the second line of {file} {everywhere}"
    if is_second:
        remedy = f"Change the secret at IAMPASS; if that is done, the first line of {file} is wrong"
    return f"{file} has two secrets, and IAMPASS accepts the {accepted}", remedy


def of_kind(
    kind: FindingKind, subject: str, evidence: str, severity: Severity | None = None, **words: object
) -> Problem:
    """A finding of this kind, as `finding` makes it."""
    filled = {name: str(word) for name, word in words.items()}
    # A remedy is pasted into a root shell, and names of a directory may contain anything.
    pasted = {**filled, "name": shell_word(clean(filled.get("name", "")))}
    return Problem(
        None,
        None,
        clean(subject),
        clean(kind.title.format(**filled), 2000),
        clean(kind.remedy.format(**pasted), 2000),
        severity or kind.severity,
        kind.id,
        clean(evidence, 2000),
    )
