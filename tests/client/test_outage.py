"""What can be an outage is a list; every other failure to connect is one of this machine."""

from __future__ import annotations

import errno
import os
import socket
from typing import Any

import pytest

from pam_iampass.client import Deadline, IampassError, LocalFailure, Unavailable
from pam_iampass.client.call import Call
from pam_iampass.client.connection import Connector, Exchange, Resolver, tls_context
from pam_iampass.client.origin import Origin
from tests.support.scripted_server import authority

FAR_SIDE = {"ECONNREFUSED", "ENETUNREACH", "EHOSTUNREACH", "ETIMEDOUT"}
#: The other side ended a connection that it had accepted.
ENDED = {"ECONNRESET", "ECONNABORTED", "EPIPE", "ESHUTDOWN"}
LOOKUP_FAILURES = {value for name, value in vars(socket).items() if name.startswith("EAI_")}
TIME_FOR_CONNECTING = 5.0
SERVER = Origin.of("https://iampass.example")


def failed(resolve: Any, left: float = 60.0, *, sent: bool = False) -> IampassError:
    """The error of an attempt to connect for which so much time is left."""
    connector = Connector(
        SERVER, tls_context(authority().ca_file), None, Resolver(resolve), TIME_FOR_CONNECTING, 4.0
    )
    call = Call("start", "POST", f"{SERVER.url}/x", "id", "secret", lambda response: response)
    exchange = Exchange(call, Deadline.after(left), None, connector)
    exchange.sent = sent
    with pytest.raises(IampassError) as caught:
        connector.connect(exchange)
    assert caught.value.may_have_started is sent
    return caught.value


def raising(error: Exception) -> Any:
    def resolve(*_arguments: Any, **_named: Any) -> list[Any]:
        raise error

    return resolve


@pytest.mark.parametrize(("number", "name"), sorted(errno.errorcode.items()))
def test_only_what_the_far_side_can_cause_is_an_outage(number: int, name: str) -> None:
    error = failed(raising(OSError(number, os.strerror(number))))
    assert type(error) is (Unavailable if name in FAR_SIDE | ENDED else LocalFailure)
    assert getattr(error, "outage", False) is (name in FAR_SIDE)


@pytest.mark.parametrize("number", sorted(LOOKUP_FAILURES))
def test_a_failed_look_up_is_an_outage_only_if_the_name_may_exist(number: int) -> None:
    error = failed(raising(socket.gaierror(number, "failed")))
    assert getattr(error, "outage", False) is (number == socket.EAI_AGAIN)


@pytest.mark.parametrize(
    "error", [OSError("without a number"), MemoryError(), UnicodeError("label too long")]
)
def test_a_failure_of_this_machine_is_no_outage(error: Exception) -> None:
    assert type(failed(raising(error))) is LocalFailure


@pytest.mark.parametrize(("left", "outage"), [(TIME_FOR_CONNECTING + 60.0, True), (0.3, False)])
def test_a_time_out_is_an_outage_only_if_connecting_had_all_its_time(left: float, outage: bool) -> None:
    error = failed(raising(socket.timeout("timed out")), left)
    assert isinstance(error, Unavailable)
    assert (error.timed_out, error.outage) == (True, outage)
