"""Every kind of finding, with its meaning and remedy: what `docs/doctor.md` and the reports are made of."""

from __future__ import annotations

from pam_iampass.doctor.finding import Kind, Severity

ERROR, WARNING, NOTE = Severity.ERROR, Severity.WARNING, Severity.NOTE

SECTIONS: dict[str, tuple[Kind, ...]] = {
    "Configuration and files": (
        Kind(
            "configuration-error",
            ERROR,
            "The configuration has an error: {what}",
            "The module denies while the settings or the table of users have an error; an error in a file"
            " of `users.d` denies that one user. `pam-iampass check` tells the same.",
            "{remedy}",
        ),
        Kind(
            "configuration-warning",
            WARNING,
            "The configuration says something that is hardly meant: {what}",
            "The module works with it, but perhaps not as it was meant.",
            "{remedy}",
        ),
        Kind(
            "account-missing",
            ERROR,
            "There is no user iampass",
            "The module runs as the user `iampass`. Without that account every login is denied.",
            "systemd-sysusers /usr/lib/sysusers.d/pam-iampass.conf, then chgrp -R iampass /etc/iampass",
        ),
        Kind(
            "file-writable",
            ERROR,
            "Somebody other than root can change {path}",
            "Whoever can write a PAM file, a module or a program of ours decides who logs in, and runs "
            "code as root.",
            "{remedy}",
        ),
        Kind(
            "packages-missing",
            ERROR,
            "The module cannot be loaded: {what}",
            "`/usr/bin/python3 -I -S` must find the module and the packages that it needs where the "
            "package was built for. After an upgrade of Python they may be elsewhere. Every login is "
            "denied.",
            "Install pam-iampass, python3-requests, python3-yaml and python3-systemd for this Python",
        ),
        Kind(
            "state-folder",
            ERROR,
            "{path} {what}",
            "There the module remembers refusals and recovery codes. The folder belongs to `iampass`, "
            "mode 0700, and everything above it to root.",
            "systemd-tmpfiles --create /usr/lib/tmpfiles.d/pam-iampass.conf; chown iampass: {path}; chmod"
            " 0700 {path}",
        ),
    ),
    "Agent": (
        Kind(
            "socket-wrong",
            ERROR,
            "The agent's socket {what}",
            "The door uses `/run/iampass/pam.sock` only where it is a socket of root's, with mode 0600, "
            "in a folder that only root can write; otherwise it denies.",
            "systemctl restart pam-iampass-agent.socket",
        ),
        Kind(
            "agent-silent",
            ERROR,
            "The agent does not answer",
            "The door found the socket, and nobody reads from it. It never changes over to the helper "
            "then: logins are denied.",
            "systemctl restart pam-iampass-agent.socket pam-iampass-agent.service; journalctl -u "
            "pam-iampass-agent",
        ),
        Kind(
            "agent-not-listening",
            WARNING,
            "Nobody listens on the agent's socket",
            "The socket is left over from an agent that is gone. The helper stands in: each login starts "
            "a process.",
            "systemctl restart pam-iampass-agent.socket",
        ),
        Kind(
            "unit-off",
            WARNING,
            "{unit} is {state}",
            "Without its socket unit the agent is not there after the next start of the machine. The "
            "helper stands in: each login starts a process of its own.",
            "systemctl enable --now {unit}",
        ),
        Kind(
            "agent-off",
            NOTE,
            "The agent is not running; each login starts the helper",
            "Without systemd, or with the agent off, a login starts `/usr/lib/pam-iampass/helper`. That "
            "is slower, and just as safe.",
            "systemctl enable --now pam-iampass-agent.socket, where systemd runs",
        ),
        Kind(
            "helper-missing",
            ERROR,
            "The helper is missing",
            "Where no agent listens the door starts `/usr/bin/python3 -I -S /usr/lib/pam-iampass/helper`."
            " One of the two is not there, so that such a login is denied.",
            "Install pam-iampass again; {path} must be there",
        ),
        Kind(
            "selinux-no-policy",
            WARNING,
            "SELinux is enforcing, and has no policy for pam-iampass",
            "SELinux may keep sshd from the agent's socket, and the agent from the network. Logins then "
            "are denied.",
            "Install pam-iampass-selinux; look for denials with ausearch -m avc -ts recent",
        ),
    ),
    "The service": (
        Kind(
            "service-unreachable",
            ERROR,
            "IAMPASS is out of reach",
            "Look-up, connection or answer failed. While that lasts, logins are denied, or pass without "
            "the phone where `unavailable: ignore` is set.",
            "{remedy}",
        ),
        Kind(
            "service-tls",
            ERROR,
            "There is no trustworthy connection to IAMPASS",
            "The certificate is not trusted, has another name or is out of date, or the server speaks no "
            "TLS 1.2. That is never taken for an outage: every login is denied.",
            "{remedy}",
        ),
        Kind(
            "service-refused",
            ERROR,
            "IAMPASS refuses the application id or the secret",
            "A signed call was refused with 401 or 403. Every login is denied.",
            "Put the application's secret into {secret_file} again, and check application_id",
        ),
        Kind(
            "service-nonsense",
            ERROR,
            "What answers in the place of IAMPASS does not speak its protocol",
            "The server or a proxy in between answered something that is no answer of IAMPASS. Every "
            "login is denied.",
            "{remedy}",
        ),
        Kind(
            "service-local",
            ERROR,
            "This machine cannot connect at all",
            "Not a sign that IAMPASS is away: a name that nobody knows, no descriptors, no permission. "
            "Every login is denied.",
            "{remedy}",
        ),
        Kind(
            "clock-off",
            WARNING,
            "This machine's clock is {seconds} s {side} the server's",
            "Requests are signed with the time. Our client corrects itself where the server tells it the "
            "time, which costs each login another round; certificates look too young or too old.",
            "timedatectl set-ntp true, or whatever sets the clock here",
        ),
        Kind(
            "proxy-ignored",
            NOTE,
            "The environment names a proxy, and `proxy` is not set",
            "The module takes a proxy only from its settings, since the user who calls sudo chooses the "
            "environment.",
            "If IAMPASS is reached through a proxy only, write proxy: http://HOST:PORT in the settings",
        ),
    ),
    "Users": (
        Kind(
            "user-unknown",
            ERROR,
            "This machine knows no user {name}",
            "A name that NSS does not know is denied before any prompt.",
            "getent passwd {name}; is the directory (sssd) up?",
        ),
        Kind(
            "entry-never-used",
            WARNING,
            "Entries of the table are never used: {names}",
            "The table is searched for names as `getent passwd` shows them. An entry under any other "
            "spelling, or of an account that is gone, is not found.",
            "Rename or remove them: pam-iampass user list --only without-account",
        ),
        Kind(
            "user-without-token",
            ERROR,
            "{name} has no token, and is denied",
            "The user is in no table, and `unlisted_users` is `deny`.",
            "pam-iampass enroll {name}, or pam-iampass user add {name}",
        ),
        Kind(
            "users-without-token",
            NOTE,
            "Users of this machine without a token are denied: {names}",
            "They are in no table, and `unlisted_users` is `deny`. That may be meant so.",
            "pam-iampass enroll USER for each who shall log in",
        ),
        Kind(
            "users-without-phone-check",
            WARNING,
            "Users pass without the phone, since they have no token: {names}",
            "They are in no table, and `unlisted_users` is `ignore`.",
            "pam-iampass enroll USER; then unlisted_users: deny",
        ),
        Kind(
            "user-exempt",
            NOTE,
            "No second factor is asked of {name}",
            "The user, a group of the user's, or the network that the login comes from is exempt.",
            "Nothing, if that is meant; else take it out of exempt: in the settings",
        ),
        Kind(
            "no-device",
            WARNING,
            "No phone is registered for {names}",
            "The token is there, and IAMPASS has no device for it: such a login is denied with `no_device`.",
            "pam-iampass enroll USER shows the link and the QR code",
        ),
        Kind(
            "user-rests",
            WARNING,
            "The phone of {names} does not ring for another {seconds} s",
            "After requests that were refused, not answered or broken off no further one goes out for a while, "
            "from the same service and place; and a person gets only so many an hour.",
            "Wait, or pam-iampass throttle clear USER",
        ),
        Kind(
            "not-at-iampass",
            WARNING,
            "IAMPASS does not know the tokens of {names}",
            "The table has a token that the application at IAMPASS has not: a slip of the pen, another "
            "application, or a user who was deleted there.",
            "Compare the token with the one at IAMPASS; pam-iampass enroll USER makes a new one",
        ),
    ),
    "PAM stacks": (
        Kind(
            "nothing-asks",
            WARNING,
            "No PAM service asks the phone",
            "No `auth` stack that an application uses names pam_iampass: nobody is asked for a second "
            "factor.",
            "pam-iampass setup sshd, or pam-iampass setup sudo",
        ),
        Kind(
            "pam-broken",
            ERROR,
            "libpam cannot use the PAM file: nobody gets in",
            "A file that is included is missing, or the file ends in the middle of a line. Every call "
            "then fails.",
            "Mend the file that is named, from a shell that stays open",
        ),
        Kind(
            "pam-fault",
            WARNING,
            "A line of the PAM file makes no sense to libpam",
            "libpam puts a module that always fails in the place of such a line.",
            "Mend the line: pam.conf(5)",
        ),
        Kind(
            "stack-no-auth",
            WARNING,
            "Our line does not stand in `auth`, and asks nobody",
            "Only `auth` lines ask for approval; elsewhere the module says PAM_IGNORE.",
            "Write auth in front of the line at {place}",
        ),
        Kind(
            "service-file-missing",
            ERROR,
            "There is no PAM file {name}: {setting} names it",
            "Where a service has no file, the stack of `other` is used: nobody gets in, or somebody gets "
            "in without the phone.",
            "Correct {setting}, or put the file into /etc/pam.d",
        ),
        Kind(
            "sibling-unprotected",
            WARNING,
            "{asking} asks the phone, and {other} does not",
            "`sudo -i` and `su -` use PAM services of their own (sudo-i, su-l): they are a way around the"
            " phone.",
            "{remedy}",
        ),
        Kind(
            "module-missing",
            ERROR,
            "{module} is not on this machine",
            "The PAM line names a module or a script of ours that is not there. With `required` every "
            "login fails.",
            "Install pam-iampass again, or take the line out",
        ),
        Kind(
            "other-module-missing",
            WARNING,
            "{module} is not on this machine",
            "Another line of the stack names a module that is not there; it answers PAM_MODULE_UNKNOWN.",
            "Install the package that brings it, or take the line out",
        ),
        Kind(
            "module-argument",
            ERROR,
            "Our line has arguments that are not known: {arguments}",
            "The module takes `config=/PATH`, `first_factor=publickey` and `debug`. With anything else "
            "every login is denied.",
            "Correct the arguments on the line",
        ),
        Kind(
            "stack-approved-fails",
            ERROR,
            "The right first factor and an approval get nobody in",
            "Played with every right answer, the stack still fails: a module that is missing or that "
            "always refuses.",
            "Look at the lines around {place}; compare with the file that pam-iampass setup makes",
        ),
        Kind(
            "stack-denial-passes",
            ERROR,
            "A denial on the phone lets people in",
            "The control of our line (`optional`, `sufficient`, `[default=ignore]`) lets the stack "
            "succeed although the module denied, crashed or is missing.",
            "Write `required` on the line at {place}",
        ),
        Kind(
            "stack-wrong-passes",
            ERROR,
            "A wrong password gets in",
            "With a wrong first factor the stack still succeeds where the phone is not needed or denied: "
            "by whoever is exempt, or by everybody.",
            "Put `requisite` on the line of the password, ahead of {place}",
        ),
        Kind(
            "stack-either",
            ERROR,
            "A wrong password and an approval get in: the phone is the only factor",
            "The line of the password is `optional` or `sufficient`, so that it need not be right.",
            "Put `requisite` on the line of the password, ahead of {place}",
        ),
        Kind(
            "stack-upside-down",
            ERROR,
            "A right password skips the phone, and a wrong one rings it",
            "`sufficient` in a file that is taken in with `include` ends the whole stack (RHEL's "
            "system-auth does so): our line is reached only by those whose password is wrong.",
            "Ahead of our line write auth requisite pam_unix.so (or pam_sss.so) instead of the include",
        ),
        Kind(
            "stack-skipped",
            ERROR,
            "A right password gets in without the phone",
            "A line before ours ends the stack (`sufficient`, `done`, a jump): the module is not asked.",
            "Put our line ahead of the end of the stack: {place}",
        ),
        Kind(
            "stack-skipped-sometimes",
            NOTE,
            "The phone is not asked where {condition}",
            "A condition, or another factor, ends the stack or jumps over our line. That may be meant so.",
            "Nothing, if that is meant; else change the control of that line",
        ),
        Kind(
            "stack-wrong-rings",
            WARNING,
            "A wrong password rings the phone",
            "After `required` the stack goes on, so that anybody who knows a name makes the phone ring, "
            "until somebody approves out of habit. A `substack` does the same.",
            "Ahead of our line use `requisite`, or [success=ok default=die], on the line of the password",
        ),
        Kind(
            "stack-rings-first",
            WARNING,
            "The phone rings before a password is asked for",
            "Our line stands ahead of the first factor: anybody who knows a name makes the phone ring.",
            "Move the line at {place} behind the password",
        ),
        Kind(
            "stack-ignored-fails",
            WARNING,
            "Nobody who needs no second factor gets in",
            "For those who are exempt, and in outages that are tolerated, the module says PAM_IGNORE; a "
            "stack in which every module ignores fails.",
            "Behind our line write: auth required pam_permit.so",
        ),
        Kind(
            "stack-setcred-fails",
            ERROR,
            "An approved login breaks off: pam_setcred fails",
            "After the approval the application calls the stack once more, to set credentials, where our "
            "module ignores. If nothing succeeds there, sshd and su break the login off.",
            "Behind our line write: auth required pam_permit.so",
        ),
        Kind(
            "stack-phone-only",
            WARNING,
            "The phone is the only factor",
            "No line of the stack asks for a password or anything else: an approval is enough.",
            "Ahead of our line write: auth requisite pam_unix.so",
        ),
        Kind(
            "pam-python-set-uid",
            ERROR,
            "pam_python in a program that runs set-uid lets its caller become root",
            "The interpreter finds its library through the caller's PATH: an unprivileged user's code "
            "runs as root, before a line of ours does. Our script denies there, which is too late.",
            "Write pam_iampass.so in the place of pam_python.so and the script, at {place}",
        ),
        Kind(
            "pam-python-needless",
            NOTE,
            "pam_python is used, although the native door is installed",
            "The native door costs less time, and has no interpreter in it.",
            "Write pam_iampass.so in the place of pam_python.so and the script, at {place}",
        ),
    ),
    "sshd": (
        Kind(
            "sshd-broken",
            ERROR,
            "sshd refuses its configuration",
            "`sshd -T` fails. A running sshd goes on with what it read before; after a restart nobody "
            "gets in.",
            "Correct the line that is named; keep this shell open until sshd -t is silent",
        ),
        Kind(
            "sshd-unprotected",
            NOTE,
            "ssh logins do not ask the phone",
            "The PAM service that sshd uses does not name pam_iampass.",
            "pam-iampass setup sshd, if it shall",
        ),
        Kind(
            "sshd-pam-off",
            ERROR,
            "sshd does not use PAM",
            "With `UsePAM no` the module is never asked, and a key or a password alone gets in.",
            "Write UsePAM yes",
        ),
        Kind(
            "sshd-key-bypasses",
            ERROR,
            "{how} gets in without the phone: {names}",
            "PAM's `auth` stack is not asked for a key. Only AuthenticationMethods makes sshd ask for "
            "more: each of its lists must hold keyboard-interactive.",
            "Write AuthenticationMethods publickey,keyboard-interactive:pam",
        ),
        Kind(
            "sshd-no-prompt",
            ERROR,
            "sshd demands keyboard-interactive, which is off: {names}",
            "With `KbdInteractiveAuthentication no` the way that AuthenticationMethods demands does not "
            "exist.",
            "Write KbdInteractiveAuthentication yes",
        ),
        Kind(
            "sshd-password-method",
            WARNING,
            "sshd takes passwords by a method that cannot show our text: {names}",
            "The method `password` runs PAM where no prompt can be shown: the person is not told that the"
            " phone rings.",
            "Write PasswordAuthentication no, and leave the password to keyboard-interactive",
        ),
        Kind(
            "sshd-phone-only",
            ERROR,
            "The phone alone gets in by ssh: {names}",
            "The stack asks for no password, and AuthenticationMethods demands no key first. Where "
            "somebody is exempt, nothing at all is needed.",
            "Write AuthenticationMethods publickey,keyboard-interactive:pam, and first_factor=publickey "
            "on our line",
        ),
        Kind(
            "sshd-key-not-demanded",
            ERROR,
            "Our line demands a key, and sshd does not ask for one first: {names}",
            "With `first_factor=publickey` every login is denied for which sshd has not accepted a key "
            "before.",
            "Write AuthenticationMethods publickey,keyboard-interactive:pam",
        ),
        Kind(
            "sshd-key-not-insisted",
            WARNING,
            "Nothing but AuthenticationMethods keeps the phone from being the only factor",
            "The stack asks for no password. Should that line of sshd's configuration be lost, the phone "
            "alone gets in.",
            "Write first_factor=publickey on our line, at {place}",
        ),
        Kind(
            "sshd-grace-short",
            WARNING,
            "sshd ends a login after {grace} s, and a person has {timeout} s to approve",
            "LoginGraceTime counts from the connection on: key, password and prompt come out of it. "
            "Whoever runs into it is penalised by sshd. It should be 30 s longer than `timeout`.",
            "Write LoginGraceTime {enough}, or a shorter timeout in the settings",
        ),
        Kind(
            "sshd-root-refused",
            WARNING,
            "root approves on the phone, and is refused all the same",
            "Under `PermitRootLogin prohibit-password` sshd refuses root after PAM has succeeded by "
            "keyboard-interactive. It is a note where root has no token.",
            "Write PermitRootLogin yes with AuthenticationMethods publickey,keyboard-interactive:pam, or no",
        ),
        Kind(
            "sshd-text-hidden",
            WARNING,
            "sshd does not show our text before the request is over",
            "sshd before 10.3 holds text back until the next prompt; with `prompt: never` there is none.",
            "Write prompt: auto in the settings",
        ),
        Kind(
            "sshd-no-enrolment",
            WARNING,
            "Nobody can register a phone at login, although the settings say so",
            "`enroll_at_login` works only behind a key: whoever gets to the prompt can register a phone. "
            "Without `first_factor=publickey` on our line such a login is denied.",
            "Write first_factor=publickey on our line, at {place}, or enroll_at_login: false",
        ),
        Kind(
            "sshd-stale",
            WARNING,
            "The running sshd has not read its present configuration",
            "A file of its configuration is newer than the process that listens.",
            "sshd -t && systemctl reload ssh (sshd on other systems), with this shell kept open",
        ),
    ),
    "sudo": (
        Kind(
            "sudoers-broken",
            ERROR,
            "sudo refuses its configuration",
            "`visudo -c` fails. sudo may let nobody do anything.",
            "visudo, on the file that is named",
        ),
        Kind(
            "sudo-unprotected",
            NOTE,
            "sudo does not ask the phone",
            "The PAM service that sudo uses does not name pam_iampass.",
            "pam-iampass setup sudo, if it shall",
        ),
        Kind(
            "sudo-no-password",
            NOTE,
            "Some commands ask for nothing, so not for the phone either: {names}",
            "NOPASSWD and `!authenticate` leave out PAM's `auth` stack.",
            "Nothing, if that is meant; else take NOPASSWD out",
        ),
        Kind(
            "sudo-environment",
            ERROR,
            "sudo keeps what lets pam_python run a caller's code as root: {what}",
            "Without `secure_path`, with PATH or variables of Python kept, the interpreter of pam_python "
            "takes its library from the caller.",
            "Use pam_iampass.so in sudo's stack; and set secure_path and env_reset in sudoers",
        ),
        Kind(
            "sudo-no-secure-path",
            NOTE,
            "sudoers has no secure_path",
            "The native door does not care, and commands that sudo runs are found through the caller's PATH.",
            "Defaults secure_path=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
        ),
    ),
    "Being locked out": (
        Kind(
            "lockout-you",
            WARNING,
            "You, {name}, will not get in the next time: {why}",
            "The user who called sudo or su for this command has no way through a service that asks the "
            "phone.",
            "pam-iampass enroll {name}, before you close this shell",
        ),
        Kind(
            "lockout-root",
            WARNING,
            "root cannot log in by ssh: {why}",
            "`PermitRootLogin` is `yes`, sshd comes to a stack that asks the phone, and root would be "
            "denied.",
            "pam-iampass enroll root, or exempt root, or PermitRootLogin no",
        ),
        Kind(
            "lockout-no-way-back",
            NOTE,
            "Nobody gets in while IAMPASS is out of reach: no one is exempt or has recovery codes",
            "`unavailable` is `deny`. Then only the console helps, as long as its PAM stack does not ask "
            "the phone.",
            "pam-iampass recovery new USER for whoever must get in, or exempt an emergency account",
        ),
        Kind(
            "lockout-console",
            WARNING,
            "The console asks the phone as well; no one is exempt or has recovery codes",
            "If IAMPASS or the network is away, nobody gets in: not by ssh, and not at the console.",
            "Exempt an emergency account, or give one recovery codes; or take our line out of login's stack",
        ),
    ),
}
"""All kinds, by what they are about."""

KINDS = {kind.id: kind for kinds in SECTIONS.values() for kind in kinds}
"""All kinds, by their ids."""
