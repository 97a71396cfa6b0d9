"""What can be an outage is a list; every other failure to connect is one of this machine."""

from __future__ import annotations

import errno
import os
import socket
import ssl

import pytest

from pam_iampass.client import Cause, Deadline, IampassError, LocalFailure, Unavailable
from pam_iampass.client.attempt import HttpAttempt
from pam_iampass.client.outage import cause_of, switched_off
from pam_iampass.client.request import SignedRequest

FAR_SIDE = {"ECONNREFUSED", "ECONNRESET", "EPIPE", "ENETUNREACH", "EHOSTUNREACH", "ENETDOWN"}


@pytest.mark.parametrize(("number", "name"), sorted(errno.errorcode.items()))
def test_only_what_the_far_side_can_cause_is_an_outage(number: int, name: str) -> None:
    expected = Cause.FAR_SIDE if name in FAR_SIDE else Cause.ANY_USER if name == "ETIMEDOUT" else None
    assert cause_of(OSError(number, os.strerror(number))) is expected


def tls_error(kind: type[ssl.SSLError], number: int, reason: str | None) -> ssl.SSLError:
    error = kind(number, "TLS failed")
    error.reason = reason  # type: ignore[assignment]
    return error


@pytest.mark.parametrize(
    ("error", "cause"),
    [
        (socket.timeout("timed out"), Cause.ANY_USER),
        (socket.gaierror(socket.EAI_AGAIN, "again"), Cause.ANY_USER),
        (socket.gaierror(socket.EAI_SYSTEM, "error"), None),
        (tls_error(ssl.SSLEOFError, ssl.SSL_ERROR_EOF, None), Cause.FAR_SIDE),
        (tls_error(ssl.SSLError, ssl.SSL_ERROR_SSL, "UNEXPECTED_EOF_WHILE_READING"), Cause.FAR_SIDE),
        (tls_error(ssl.SSLSyscallError, ssl.SSL_ERROR_SYSCALL, None), None),
        (tls_error(ssl.SSLError, ssl.SSL_ERROR_SSL, "WRONG_VERSION_NUMBER"), None),
        (OSError("without a number"), None),
        (MemoryError(), None),
    ],
    ids=str,
)
def test_only_the_end_of_a_connection_and_the_lack_of_a_response_count_besides(
    error: Exception, cause: Cause | None
) -> None:
    assert cause_of(error) is cause


@pytest.mark.parametrize("family", [socket.AF_INET, socket.AF_INET6])
@pytest.mark.parametrize("number", [errno.EADDRNOTAVAIL, errno.EAGAIN])
def test_taken_ports_are_never_taken_for_a_missing_route(family: int, number: int) -> None:
    with socket.socket(socket.AF_INET6) as six:
        try:
            six.bind(("::1", 0))
        except OSError:
            pytest.skip("this machine has no IPv6")
    assert switched_off(family, OSError(number, "x")).errno == number


@pytest.mark.parametrize(
    ("number", "kind", "cause"),
    [
        (errno.ENOBUFS, LocalFailure, None),
        (errno.EADDRNOTAVAIL, LocalFailure, None),
        (errno.ECONNRESET, Unavailable, Cause.FAR_SIDE),
        (errno.ETIMEDOUT, Unavailable, Cause.ANY_USER),
    ],
)
@pytest.mark.parametrize("sent", [False, True])
def test_a_failure_of_the_exchange_is_an_outage_only_before_the_request_was_sent(
    number: int, kind: type[IampassError], cause: Cause | None, sent: bool
) -> None:
    request = SignedRequest("start", "POST", "https://localhost/x", "id", "secret")
    attempt = HttpAttempt(request, {}, Deadline.after(60.0))
    attempt.request_sent = sent
    error = attempt.explain(OSError(number, os.strerror(number)), "localhost:443")
    assert type(error) is kind
    assert error.may_have_started is sent
    assert getattr(error, "cause", None) is (None if sent else cause)
