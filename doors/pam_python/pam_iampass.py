# The pam_python door: carries a login of sshd to the module, which runs in a process of its own.
# It speaks docs/relay-protocol.md. Only modules built into the interpreter are imported: this file is read four
# times a login, and whatever else it loaded could be somebody else's.
import _socket
import errno
import posix
import select
import sys
import syslog
import time

AGENT_FOLDER, AGENT_SOCKET = "/run/iampass", "/run/iampass/pam.sock"
PYTHON, HELPER = "/usr/bin/python3", "/usr/lib/pam-iampass/helper"
ENVIRONMENT = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "LANG": "C.UTF-8"}

SUCCESS, AUTHINFO_UNAVAIL, MAXTRIES, IGNORE, ABORT = 0, 9, 11, 25, 26
KNOWN_RESULTS = (SUCCESS, 6, AUTHINFO_UNAVAIL, MAXTRIES, IGNORE, ABORT)
PROMPT_ECHO_OFF, PROMPT_ECHO_ON, ERROR_MSG, TEXT_INFO = 1, 2, 3, 4
LONGEST_FRAME, MOST_FRAMES = 65536, 256
FRAME_WAIT, GRACE, LONGEST_DEADLINE = 10.0, 0.8, 300000


class Failure(Exception):
    """No result can be had from the module; the text says why."""


def pam_sm_authenticate(pamh, flags, argv):
    denial, who = ABORT, {}
    try:
        who = items_of(pamh)
        denial = MAXTRIES if "ssh_auth_info" in who else ABORT
        if posix.geteuid() != 0:
            record(who, "the application does not run as root")
            return AUTHINFO_UNAVAIL
        if posix.getuid() != 0:
            raise Failure("pam_python is no door for a set-uid program: use pam_iampass.so there")
        return relay(pamh, hello(flags, argv[1:]), items(who))
    except Failure as failure:
        record(who, failure.args[0])
    except BaseException as error:
        record(who, "the door failed with " + type(error).__name__)
    return denial


def pam_sm_setcred(pamh, flags, argv):
    return IGNORE


pam_sm_acct_mgmt = pam_sm_open_session = pam_sm_close_session = pam_sm_chauthtok = pam_sm_setcred


def items_of(pamh):
    """The PAM items that are set, as texts. A text that is not UTF-8 raises in pam_python, and denies."""
    who = {name: getattr(pamh, name) for name in ("service", "rhost", "tty", "ruser")}
    who["user"] = pamh.get_user()
    who["uid"] = str(posix.getuid())
    if "SSH_AUTH_INFO_0" in pamh.env:
        who["ssh_auth_info"] = pamh.env["SSH_AUTH_INFO_0"]
    return {name: value for name, value in who.items() if value is not None}


def hello(flags, arguments):
    texts = b"".join(argument.encode() + b"\0" for argument in arguments)
    return frame(b"H", b"\x01\x01" + (flags & 0xFFFFFFFF).to_bytes(4, "big") + texts)


def items(who):
    return frame(b"I", b"".join(f"{name}={value}\0".encode() for name, value in who.items()))


def frame(kind, payload):
    if len(payload) > LONGEST_FRAME:
        raise Failure("the login does not fit into a frame")
    return kind + len(payload).to_bytes(4, "big") + payload


def relay(pamh, *greeting):
    """Carry one login: everything from the module to the application and back, until the RESULT."""
    connection, helper = to_agent(), None
    if connection is None:
        connection, helper = to_helper()
    try:
        until = time.monotonic() + FRAME_WAIT
        promised = False
        send(connection, b"".join(greeting), until)
        for _ in range(MOST_FRAMES):
            kind, payload = receive(connection, until)
            now = time.monotonic()
            if kind == b"R":
                return result(payload)
            if kind == b"D":
                until, promised = now + min(int.from_bytes(payload, "big"), LONGEST_DEADLINE) / 1000 + GRACE, True
            elif kind == b"Q":
                answer = ask(pamh, payload)
                until = until + time.monotonic() - now if promised else time.monotonic() + FRAME_WAIT
                try:
                    send(connection, answer, until)
                except Failure:
                    pass  # the module may have given its RESULT while the person was at the prompt: read on
            elif kind in (b"S", b"E"):
                say(pamh, TEXT_INFO if kind == b"S" else ERROR_MSG, text(payload))
                until = until if promised else now + FRAME_WAIT
            else:
                raise Failure("the module sent a frame of unknown type")
        raise Failure("the module sent too many frames")
    finally:
        connection.close()
        if helper is not None:
            posix.waitpid(helper, posix.WNOHANG)  # it has long left a grandchild in its place


def say(pamh, style, message):
    try:
        pamh.conversation(pamh.Message(style, message))
    except pamh.exception:
        pass  # information only: an application that cannot show it may go on


def ask(pamh, payload):
    """The frame for what the person answers; NO_ANSWER where the application could not ask."""
    style = {0: PROMPT_ECHO_OFF, 1: PROMPT_ECHO_ON}.get(payload[0] if payload else None)
    if style is None:
        raise Failure("the module sent a malformed prompt")
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


def result(payload):
    code = int.from_bytes(payload, "big")
    if len(payload) != 4 or code not in KNOWN_RESULTS:
        raise Failure("the module sent an unknown result")
    return code


def send(connection, data, until):
    connection.settimeout(max(until - time.monotonic(), 0.001))
    try:
        connection.sendall(data, _socket.MSG_NOSIGNAL)
    except OSError as error:
        raise Failure(f"the module does not listen: {error.strerror or 'time-out'}") from None


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
            raise Failure("the module gave no answer in time")
        connection.settimeout(left)
        try:
            chunk = connection.recv(count - len(data))
        except OSError as error:
            raise Failure(f"the module gave no answer: {error.strerror or 'time-out'}") from None
        if not chunk:
            raise Failure("the module went away")
        data += chunk
    return data


def to_agent():
    """A connection to the agent, or None where none is there. Anything odd about it denies."""
    try:
        trust(posix.lstat(AGENT_FOLDER), 0o040000, 0o022)
        trust(posix.lstat(AGENT_SOCKET), 0o140000, 0o077)
        connection = _socket.socket(_socket.AF_UNIX, _socket.SOCK_STREAM)
        connection.settimeout(1.0)
        connection.connect(AGENT_SOCKET)
    except OSError as error:
        if error.errno in (errno.ENOENT, errno.ECONNREFUSED):
            return None
        raise Failure(f"the agent cannot be reached: {error.strerror or 'it is busy'}") from None
    peer = connection.getsockopt(_socket.SOL_SOCKET, _socket.SO_PEERCRED, 12)
    if int.from_bytes(peer[4:8], sys.byteorder) != 0:
        raise Failure("the agent's socket belongs to somebody else")
    return connection


def trust(status, kind, forbidden):
    if status.st_mode & 0o170000 != kind or status.st_uid != 0 or status.st_mode & forbidden:
        raise Failure("the agent's socket or its folder is not root's alone")


def to_helper():
    """A connection to a helper of our own, started cleanly (docs/relay-protocol.md), and its process id."""
    ours, its = _socket.socketpair(_socket.AF_UNIX, _socket.SOCK_STREAM)
    actions = [
        (posix.POSIX_SPAWN_DUP2, its.fileno(), 0),
        (posix.POSIX_SPAWN_OPEN, 1, "/dev/null", posix.O_WRONLY, 0),
        (posix.POSIX_SPAWN_DUP2, 1, 2),
    ]
    actions += [(posix.POSIX_SPAWN_CLOSE, int(number)) for number in posix.listdir("/proc/self/fd") if int(number) > 2]
    signals = [number for number in range(1, 32) if number not in (9, 19)]
    arguments = [PYTHON, "-I", "-S", HELPER]
    try:
        helper = posix.posix_spawn(
            PYTHON, arguments, ENVIRONMENT, file_actions=actions, setsid=True, setsigmask=[], setsigdef=signals
        )
    except OSError as error:
        raise Failure(f"the helper cannot be started: {error.strerror}") from None
    finally:
        its.close()
    return ours, helper


def record(who, reason):
    """The audit record of a login that the module gave no answer to, on one line whatever the names hold."""
    words = ["outcome=unavailable", "result=denied"]
    words += [f"{name}={ascii(who.get(name, '-'))}" for name in ("user", "service", "rhost")]
    syslog.openlog("pam_iampass", syslog.LOG_PID, syslog.LOG_AUTHPRIV)
    syslog.syslog(syslog.LOG_ERR, " ".join([*words, f"reason={ascii(reason)}"]))
    syslog.closelog()
