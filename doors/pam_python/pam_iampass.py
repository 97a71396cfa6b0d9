# The pam_python door, for sshd: relays a login to the module in the agent (docs/inside/relay-protocol.md). It imports
# only modules that are built into the interpreter. pam_python loads it once a handle.
import _socket
import posix
import pwd
import syslog
import time

FOLDER, SOCKET, LOGINS = "/run/iampass", "/run/iampass/pam.sock", "/run/iampass/logins"
SUCCESS, PERM_DENIED, MAXTRIES, IGNORE = 0, 6, 11, 25
RESULTS = (SUCCESS, PERM_DENIED, 9, MAXTRIES, IGNORE, 26)
AUTHENTICATE, ACCOUNT, OPEN_SESSION, CLOSE_SESSION = 1, 2, 3, 4
SSHD, KEPT = "SSH_AUTH_INFO_0", "PAM_IAMPASS_SESSION"  # variables of the PAM environment
NOT_RUNNING = "The IAMPASS agent is not running."
ASK, START = " Please ask your administrator.", " As root: systemctl start pam-iampass-agent.socket"

passed = kept = None  # whether the auth phase has let this login pass; the id of its kept session


class Failure(Exception):
    """There is no result from the module; the text says why."""


def pam_sm_authenticate(pamh, flags, argv):
    global passed
    if "codes" in argv:  # such a line only takes a recovery code, and decides nothing
        leads = posix.getsid(0) == posix.getpid()  # in sshd's method `password`, which cannot ask
        by_password = leads and "SSH_CONNECTION" in pamh.env  # OpenSSH 9.2 does not set SSHD then
        return IGNORE if by_password else decide(pamh, AUTHENTICATE, flags, argv, MAXTRIES)
    code = decide(pamh, AUTHENTICATE, flags, argv, MAXTRIES)
    passed = code in (SUCCESS, IGNORE)
    return code


def pam_sm_acct_mgmt(pamh, flags, argv):
    # Only sshd has required a first factor. `always` is for sudo, which this door does not serve: it denies.
    if passed is None and (SSHD in pamh.env or "always" in argv):
        return decide(pamh, ACCOUNT, flags, argv, PERM_DENIED)
    return PERM_DENIED if passed is False else IGNORE


def pam_sm_open_session(pamh, flags, argv):
    return session_phase(pamh, OPEN_SESSION, flags, argv)


def pam_sm_close_session(pamh, flags, argv):
    return session_phase(pamh, CLOSE_SESSION, flags, argv)


def pam_sm_setcred(pamh, flags, argv):
    return IGNORE


def decide(pamh, phase, flags, argv, denial):
    """The module's result, or without one `denial`."""
    global kept
    who = ""
    try:
        who = f"user={word(pamh.user)} service={word(pamh.service)} rhost={word(pamh.rhost)} "
        if SSHD not in pamh.env or posix.getuid() != 0 or posix.geteuid() != 0:
            raise Failure("pam_python serves only sshd: use pam_iampass.so")
        code, session = relay(pamh, phase, flags, argv)
        if session is not None and code in (SUCCESS, IGNORE):
            kept = pamh.env[KEPT] = session  # of sshd's child process only the PAM environment remains
        return code
    except Failure as failure:
        reason = failure.args[0]
    except BaseException as error:
        reason = "the door failed with " + type(error).__name__
    if reason == NOT_RUNNING:  # nobody at ssh can act as root: only the log says how
        talk(pamh, pamh.PAM_ERROR_MSG, (reason + ASK).encode())
        reason += START
    else:
        talk(pamh, pamh.PAM_ERROR_MSG, reason.encode())
    syslog.openlog("pam_iampass", syslog.LOG_PID, syslog.LOG_AUTHPRIV)
    syslog.syslog(syslog.LOG_ERR, f"outcome=unavailable result=denied {who}reason={reason}")
    return denial


def word(name):  # so that a name can neither start a second record nor add a field
    return "".join(one if "!" <= one <= "~" else "?" for one in (name or "-")[:256])


def session_phase(pamh, phase, flags, argv):
    """Tell the agent, and the service that ends logins. Lets nobody in and makes no login fail."""
    global kept
    try:
        if KEPT in pamh.env:
            opening = kept is None and phase == OPEN_SESSION and SSHD in pamh.env
            kept = pamh.env[KEPT] if opening else kept  # once it is open, this is what pam_env has read
            del pamh.env[KEPT]  # it must not reach the user
        if kept is not None and kept.isalnum():
            path = f"{LOGINS}/{kept}.{posix.getpid()}"
            trust(LOGINS, 0o022)
            if phase == OPEN_SESSION:
                register(pamh, path)
            else:
                posix.unlink(path)
            relay(pamh, phase, flags, argv)
    except BaseException:
        pass
    return IGNORE


def register(pamh, path):
    """Note for the service that ends logins that this process has opened a login session."""
    account = pwd.getpwnam(pamh.user)
    fields = {item: getattr(pamh, item) for item in ("service", "tty", "ruser")}
    fields.update(user=account.pw_name, uid=account.pw_uid, xdg_session=pamh.env.get("XDG_SESSION_ID"))
    fields.update(pid=posix.getpid(), started=read_proc("stat").rpartition(")")[2].split()[19])  # proc(5)
    lines = [f"{name}={value}" for name, value in fields.items() if value is not None]
    with open(path, "xb") as file:
        file.write("".join(line + "\n" for line in lines if line.isprintable()).encode())
        posix.fchmod(file.fileno(), 0o644)


def relay(pamh, phase, flags, argv):
    """One call of the module: its result, and the kept session or None."""
    items = {item: getattr(pamh, item) for item in ("service", "rhost", "tty", "ruser")}
    items.update(user=pamh.get_user(), uid=str(posix.getuid()))
    items.update(ssh_auth_info=pamh.env.get(SSHD), ssh_connection=pamh.env.get("SSH_CONNECTION"))
    if phase == AUTHENTICATE and posix.getsid(0) != posix.getpid():  # else it is sshd's method `password`
        items["executable"] = executable()
    if phase >= OPEN_SESSION:
        items.update(session=kept, xdg_session=pamh.env.get("XDG_SESSION_ID"))
        if read_proc("loginuid") == str(pwd.getpwnam(pamh.user).pw_uid):  # else it is nobody's, or another's
            items["audit_session"] = read_proc("sessionid")
    texts = "".join(f"{name}={value}\0" for name, value in items.items() if value is not None)
    arguments = "".join(argument + "\0" for argument in argv[1:])
    until = time.monotonic() + (2.0 if phase >= OPEN_SESSION else 5.0)
    connection = to_agent(until)
    until = until if phase >= OPEN_SESSION else time.monotonic() + 10.0
    send(connection, b"H", bytes((1, phase)) + (flags & 0xFFFFFFFF).to_bytes(4, "big") + arguments.encode())
    send(connection, b"I", texts.encode())
    session, promised = None, False
    for _ in range(64):
        kind, payload = receive(connection, until)
        number = int.from_bytes(payload, "big") if len(payload) == 4 else None
        if kind == b"R" and number in RESULTS:
            return number, session
        if kind == b"D" and number is not None and number <= 300000:
            until, promised = time.monotonic() + number / 1000 + 0.8, True
        elif kind == b"Q" and payload[:1] in (b"\0", b"\1"):
            asked = time.monotonic()
            style = pamh.PAM_PROMPT_ECHO_ON if payload[0] else pamh.PAM_PROMPT_ECHO_OFF
            answer = talk(pamh, style, payload[1:])
            until = until + time.monotonic() - asked if promised else time.monotonic() + 10.0
            send(connection, b"N" if answer is None else b"A", (answer or "").encode())
        elif kind == b"K" and payload.isalnum():
            session = payload.decode()
        elif kind in (b"S", b"E"):
            talk(pamh, pamh.PAM_TEXT_INFO if kind == b"S" else pamh.PAM_ERROR_MSG, payload)
        else:
            break
    raise Failure("the module sent a frame that is unknown, malformed or one too many")


def executable():
    """Device, inode and time of the program that runs; None if they are not known."""
    try:
        program = posix.stat("/proc/self/exe")
        return f"{program.st_dev}:{program.st_ino}:{program.st_ctime_ns}"
    except OSError:
        return None


def to_agent(until):
    """A connection to an agent that has greeted us; it may be starting."""
    while time.monotonic() < until:
        try:
            trust(SOCKET, 0o077)
            connection = _socket.socket(_socket.AF_UNIX, _socket.SOCK_STREAM)
            connection.settimeout(until - time.monotonic())
            connection.connect(SOCKET)
            peer = connection.getsockopt(_socket.SOL_SOCKET, _socket.SO_PEERCRED, 12)
            if peer[4:8] != bytes(4) or receive(connection, until) != (b"G", b"\0\0\0\1"):  # uid 0
                raise Failure("what listens on the agent's socket is not root's, or no agent of this version")
            return connection
        except OSError:
            time.sleep(0.02)
    raise Failure(NOT_RUNNING)


def receive(connection, until):
    data, length = b"", 5
    while len(data) < length:
        connection.settimeout(max(until - time.monotonic(), 0.001))
        chunk = connection.recv(length - len(data))
        data += chunk
        length = 5 + int.from_bytes(data[1:5], "big") if len(data) >= 5 else 5
        if not chunk or length > 65541 or time.monotonic() > until:
            raise ConnectionError
    return data[:1], data[5:]


def send(connection, kind, payload):
    try:
        connection.sendall(kind + len(payload).to_bytes(4, "big") + payload, _socket.MSG_NOSIGNAL)
    except BrokenPipeError:
        return  # the module may have sent its RESULT before it closed


def talk(pamh, style, payload):
    try:
        return pamh.conversation(pamh.Message(style, payload.decode())).resp or ""
    except (pamh.exception, UnicodeError):
        return None  # the application could not ask


def trust(path, forbidden):
    """Root alone can replace it, or write or connect to it. A link has all bits of the mode."""
    for one, mask in ((FOLDER, 0o022), (path, forbidden)):
        status = posix.lstat(one)
        if status.st_uid != 0 or status.st_mode & mask:
            raise Failure(one + " is open to others than root")


def read_proc(name):
    with open("/proc/self/" + name, "rb") as file:
        return file.read().decode()
