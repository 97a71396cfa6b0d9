# The pam_python door, for sshd: relays a login to the module, which runs in its own process (docs/relay-protocol.md).
# It imports only modules that are built into the interpreter: it is loaded four times a login, and the search path for
# others is not under its control.
import _socket
import errno
import posix
import pwd
import sys
import syslog
import time

AGENT_FOLDER, AGENT_SOCKET = "/run/iampass", "/run/iampass/pam.sock"
LOGINS_FOLDER = AGENT_FOLDER + "/logins"

SUCCESS, PERM_DENIED, AUTHINFO_UNAVAIL, MAXTRIES, IGNORE, ABORT = 0, 6, 9, 11, 25, 26
KNOWN_RESULTS = (SUCCESS, PERM_DENIED, AUTHINFO_UNAVAIL, MAXTRIES, IGNORE, ABORT)
PROMPT_ECHO_OFF, PROMPT_ECHO_ON, ERROR_MSG, TEXT_INFO = 1, 2, 3, 4
LONGEST_FRAME, MOST_FRAMES = 65536, 64
FRAME_WAIT, BUSY_WAIT, GRACE, LONGEST_DEADLINE = 10.0, 1.0, 0.8, 300000
SESSION_WAIT = 2.0
LONGEST_NAME = 256
AUTHENTICATE, ACCOUNT, OPEN_SESSION, CLOSE_SESSION = 1, 2, 3, 4
VARIABLE, NO_AUDIT_SESSION = "PAM_IAMPASS_SESSION", "4294967295"


class Failure(Exception):
    """There is no result from the module; the text says why."""


# pam_python loads this file once a handle:
passed = None  # whether the auth phase of this login has let it pass
kept = None  # the id of the kept session that this login belongs to


def pam_sm_authenticate(pamh, flags, argv):
    global passed
    code = decide(pamh, AUTHENTICATE, flags, argv)
    passed = code in (SUCCESS, IGNORE)
    return code


def pam_sm_acct_mgmt(pamh, flags, argv):
    if not in_sshd(pamh):  # nobody else has seen to a first factor
        return IGNORE
    if passed is None:
        return decide(pamh, ACCOUNT, flags, argv)
    return IGNORE if passed else PERM_DENIED


def in_sshd(pamh):
    return "SSH_AUTH_INFO_0" in pamh.env


def decide(pamh, phase, flags, argv):
    """The module's result, or without one a code that makes the application stop."""
    denial, who = PERM_DENIED if phase == ACCOUNT else ABORT, {}
    try:
        if phase == AUTHENTICATE and in_sshd(pamh):
            denial = MAXTRIES
        gather(pamh, who)
        if posix.geteuid() != 0:
            record(who, f"the application does not run as root: effective uid {posix.geteuid()}")
            return AUTHINFO_UNAVAIL
        if posix.getuid() != 0:
            raise Failure("pam_python must not serve a set-uid program: use pam_iampass.so")
        code, session = relay(pamh, hello(phase, flags, argv[1:]), items(who))
        if session is not None and code in (SUCCESS, IGNORE):
            keep(pamh, session)
        return code
    except Failure as failure:
        record(who, failure.args[0])
    except BaseException as error:
        record(who, "the door failed with " + type(error).__name__)
    return denial


def pam_sm_setcred(pamh, flags, argv):
    return IGNORE


pam_sm_chauthtok = pam_sm_setcred


def pam_sm_open_session(pamh, flags, argv):
    return session_phase(pamh, OPEN_SESSION, flags, argv)


def pam_sm_close_session(pamh, flags, argv):
    return session_phase(pamh, CLOSE_SESSION, flags, argv)


def session_phase(pamh, phase, flags, argv):
    """Lets nobody in and makes no login fail."""
    attempt(take, pamh, phase)
    if kept is not None and posix.geteuid() == 0:
        path = f"{LOGINS_FOLDER}/{kept}.{posix.getpid()}"
        if phase == OPEN_SESSION:
            attempt(register, pamh, path)
        attempt(report, pamh, phase, flags, argv)
        if phase == CLOSE_SESSION:
            attempt(unregister, path)
    return IGNORE


def attempt(function, *arguments):
    try:
        function(*arguments)
    except BaseException:
        return


def keep(pamh, session):
    """Remember the session. Of sshd's keyboard-interactive process only the PAM environment remains."""
    global kept
    kept = session
    if in_sshd(pamh):
        pamh.env[VARIABLE] = session


def take(pamh, phase):
    """Take over the id from the variable, which must not reach the user's environment.

    Once the session is open, the variable is what pam_env read from a file of the user.
    """
    global kept
    if VARIABLE not in pamh.env:
        return
    try:
        value = pamh.env[VARIABLE]
    except UnicodeError:
        value = ""
    del pamh.env[VARIABLE]
    if kept is None and phase == OPEN_SESSION and in_sshd(pamh) and is_session_id(value):
        kept = value


def is_session_id(text):
    return len(text) == 32 and not set(text) - set("0123456789abcdef")


def report(pamh, phase, flags, argv):
    """Tell the agent of a session phase."""
    until, who = time.monotonic() + SESSION_WAIT, {}
    gather(pamh, who)
    who["session"] = kept
    if xdg_session(pamh) is not None:
        who["xdg_session"] = xdg_session(pamh)
    connection = to_agent()
    if connection is not None:
        send(connection, hello(phase, flags, argv[1:]) + items(who), until)
        receive(connection, until)
        connection.close()


def register(pamh, path):
    """Note for the service that ends logins that this process has opened a login session."""
    account = pwd.getpwnam(pamh.user)
    lines = {
        "user": account.pw_name,
        "uid": str(account.pw_uid),
        "service": pamh.service,
        "pid": str(posix.getpid()),
    }
    lines["started"] = read_proc("stat").rpartition(")")[2].split()[19]  # proc_pid_stat(5)
    lines["audit_session"] = audit_session()
    lines["xdg_session"] = xdg_session(pamh)
    lines["tty"] = pamh.tty
    lines["ruser"] = pamh.ruser
    text = "".join(f"{name}={value}\n" for name, value in lines.items() if value is not None and clean(value))
    trust_logins()
    temporary = f"{LOGINS_FOLDER}/.{kept}.{posix.getpid()}"
    if posix.access(temporary, posix.F_OK):
        posix.unlink(temporary)
    file = posix.open(
        temporary, posix.O_WRONLY | posix.O_CREAT | posix.O_EXCL | posix.O_NOFOLLOW | posix.O_CLOEXEC
    )
    try:
        posix.fchmod(file, 0o644)
        if posix.write(file, text.encode()) != len(text.encode()):
            raise Failure("no room")
        posix.rename(temporary, path)
    except BaseException:
        posix.unlink(temporary)
        raise
    finally:
        posix.close(file)


def xdg_session(pamh):
    if "XDG_SESSION_ID" in pamh.env:
        return pamh.env["XDG_SESSION_ID"]
    return None


def unregister(path):
    trust_logins()
    posix.unlink(path)


def trust_logins():
    for folder in (AGENT_FOLDER, LOGINS_FOLDER):
        trust(folder, 0o040000, 0o022, "the folder of login sessions is not writable by root alone")


def clean(value):
    return not any(ord(character) < 32 or ord(character) == 127 for character in value)


def read_proc(name):
    file = posix.open("/proc/self/" + name, posix.O_RDONLY | posix.O_CLOEXEC)
    try:
        return posix.read(file, 1024).decode("utf-8", "replace")
    finally:
        posix.close(file)


def audit_session():
    """The kernel's audit session of this process, in decimal; None without one."""
    try:
        number = read_proc("sessionid")
    except OSError:
        return None
    return None if number == NO_AUDIT_SESSION else number


def gather(pamh, who):
    """Put the PAM items that are set into `who`, as text. pam_python cannot return one that is not UTF-8."""
    getters = {name: lambda name=name: getattr(pamh, name) for name in ("service", "rhost", "tty", "ruser")}
    getters["user"] = pamh.get_user
    getters["uid"] = lambda: str(posix.getuid())
    getters["audit_session"] = audit_session
    for name, variable in (("ssh_auth_info", "SSH_AUTH_INFO_0"), ("ssh_connection", "SSH_CONNECTION")):
        if variable in pamh.env:
            getters[name] = lambda variable=variable: pamh.env[variable]
    unreadable = []
    for name, get in getters.items():
        try:
            value = get()
        except UnicodeError:
            unreadable.append(name)
        else:
            if value is not None:
                who[name] = value
    if unreadable:
        raise Failure("not UTF-8: " + ", ".join(unreadable))


def hello(phase, flags, arguments):
    texts = b"".join(argument.encode() + b"\0" for argument in arguments)
    return frame(b"H", bytes((1, phase)) + (flags & 0xFFFFFFFF).to_bytes(4, "big") + texts)


def items(who):
    return frame(b"I", b"".join(f"{name}={value}\0".encode() for name, value in who.items()))


def frame(kind, payload):
    if len(payload) > LONGEST_FRAME:
        raise Failure("the PAM items or the arguments are too long")
    return kind + len(payload).to_bytes(4, "big") + payload


def relay(pamh, *greeting):
    """Relay one login between the module and the application, until the RESULT; returns that and the kept session."""
    connection, session = to_agent(), None
    try:
        until = time.monotonic() + FRAME_WAIT
        promised = False
        send(connection, b"".join(greeting), until)
        for _ in range(MOST_FRAMES):
            kind, payload = receive(connection, until)
            now = time.monotonic()
            if kind == b"R":
                return result(connection, payload), session
            if kind == b"D":
                until, promised = now + deadline(payload) + GRACE, True
            elif kind == b"Q":
                answer = ask(pamh, payload)
                until = until + time.monotonic() - now if promised else time.monotonic() + FRAME_WAIT
                try:
                    send(connection, answer, until)
                except Failure:
                    pass  # if the module has closed, its RESULT may have arrived during the prompt: read on
            elif kind == b"K":
                session = text(payload)
                if not is_session_id(session):
                    raise Failure("the module sent an invalid id of a session")
            elif kind in (b"S", b"E"):
                say(pamh, TEXT_INFO if kind == b"S" else ERROR_MSG, text(payload))
            else:
                raise Failure("the module sent a frame of an unknown type")
        raise Failure("the module sent too many frames")
    finally:
        connection.close()


def say(pamh, style, message):
    try:
        pamh.conversation(pamh.Message(style, message))
    except pamh.exception:
        pass  # if the text cannot be shown, the login goes on


def ask(pamh, payload):
    """The ANSWER frame, or NO_ANSWER if the application could not ask."""
    style = {0: PROMPT_ECHO_OFF, 1: PROMPT_ECHO_ON}.get(payload[0] if payload else None)
    if style is None:
        raise Failure("the module sent a prompt of an unknown style")
    message = pamh.Message(style, text(payload[1:]))
    try:
        answer = pamh.conversation(message).resp
        return frame(b"A", (answer or "").encode())
    except (pamh.exception, UnicodeError, Failure):
        return frame(b"N", b"")


def text(payload):
    if 0 in payload:
        raise Failure("the module sent a text with a NUL")
    return payload.decode()


def deadline(payload):
    milliseconds = int.from_bytes(payload, "big")
    if len(payload) != 4 or milliseconds > LONGEST_DEADLINE:
        raise Failure("the module sent a deadline that is malformed or too far away")
    return milliseconds / 1000


def result(connection, payload):
    code = int.from_bytes(payload, "big")
    if len(payload) != 4 or code not in KNOWN_RESULTS:
        raise Failure("the module sent an unknown result")
    connection.setblocking(False)
    try:
        more = connection.recv(1)
    except OSError:
        more = b""
    if more:
        raise Failure("the module sent more than a result")
    return code


def send(connection, data, until):
    connection.settimeout(max(until - time.monotonic(), 0.001))
    try:
        connection.sendall(data, _socket.MSG_NOSIGNAL)
    except OSError as error:
        raise Failure(trouble(error)) from None


def receive(connection, until):
    header = exactly(connection, 5, until)
    length = int.from_bytes(header[1:], "big")
    if length > LONGEST_FRAME:
        raise Failure("the module sent a frame over 64 KiB")
    return header[:1], exactly(connection, length, until)


def exactly(connection, count, until):
    data = b""
    while len(data) < count:
        left = until - time.monotonic()
        if left <= 0:
            raise Failure("the module did not answer in time")
        connection.settimeout(left)
        try:
            chunk = connection.recv(count - len(data))
        except OSError as error:
            raise Failure(trouble(error)) from None
        if not chunk:
            raise Failure("the module closed the connection before it gave a result")
        data += chunk
    return data


def trouble(error):
    if isinstance(error, TimeoutError):
        return "the module did not answer in time"
    if error.errno in (errno.EPIPE, errno.ECONNRESET):
        return "the module closed the connection before it gave a result"
    return f"the connection to the module failed (errno {error.errno})"


def to_agent():
    """A connection to the agent. An untrusted socket denies."""
    try:
        trust(AGENT_FOLDER, 0o040000, 0o022, "the folder of the agent's socket is not writable by root alone")
        trust(AGENT_SOCKET, 0o140000, 0o077, "the agent's socket is not accessible to root alone")
        connection = _socket.socket(_socket.AF_UNIX, _socket.SOCK_STREAM)
        connect(connection)
    except OSError as error:
        raise Failure(f"no connection to the agent (errno {error.errno})") from None
    peer = connection.getsockopt(_socket.SOL_SOCKET, _socket.SO_PEERCRED, 12)
    if int.from_bytes(peer[4:8], sys.byteorder) != 0:
        raise Failure("the process that listens on the agent's socket is not root's")
    return connection


def trust(path, kind, forbidden, reason):
    status = posix.lstat(path)
    if status.st_mode & 0o170000 != kind or status.st_uid != 0 or status.st_mode & forbidden:
        raise Failure(reason)


def connect(connection):
    """Connect; if the agent's queue is full, try again for a second."""
    connection.settimeout(0)
    until = time.monotonic() + BUSY_WAIT
    while True:
        try:
            return connection.connect(AGENT_SOCKET)
        except BlockingIOError:
            if time.monotonic() > until:
                raise Failure("the agent is busy") from None
            time.sleep(0.02)


def record(who, reason):
    """Write the audit record of a login that the door denied without a result from the module."""
    names = [f"{name}={printable(who.get(name, '-'))}" for name in ("user", "service", "rhost")]
    syslog.openlog("pam_iampass", syslog.LOG_PID, syslog.LOG_AUTHPRIV)
    syslog.syslog(syslog.LOG_ERR, " ".join(["outcome=unavailable result=denied", *names, "reason=" + reason]))
    syslog.closelog()


def printable(name):
    """A name as one word of printable ASCII, so that it can neither start a second record nor add a field."""
    data = name.encode()
    shown = "".join(
        chr(byte) if 32 < byte < 127 and byte != 92 else f"\\x{byte:02x}" for byte in data[:LONGEST_NAME]
    )
    return shown + ("..." if len(data) > LONGEST_NAME else "")
