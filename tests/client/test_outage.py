"""What can be an outage is a list; every other failure to connect is one of this machine."""

from __future__ import annotations

import errno
import os
import socket
from typing import Any

import pytest

from pam_iampass.client import (
    AuthenticationAPI,
    Deadline,
    IampassError,
    LocalFailure,
    Unavailable,
)
from pam_iampass.client.connection import Network
from tests.client.talk import make_transport
from tests.support.scripted_server import authority

FAR_SIDE = {"ECONNREFUSED", "ENETUNREACH", "EHOSTUNREACH", "ETIMEDOUT"}
#: The other side ended a connection that it had accepted.
ENDED = {"ECONNRESET", "ECONNABORTED", "EPIPE", "ESHUTDOWN"}
LOOKUP_FAILURES = {value for name, value in vars(socket).items() if name.startswith("EAI_")}
TIME_FOR_CONNECTING = 5.0


def failed(resolve: Any, left: float = 60.0) -> IampassError:
    """The error of a start for which so much time is left, on a machine that looks names up like this."""
    transport = make_transport(
        "https://iampass.example",
        authority().ca_file,
        connect_seconds=TIME_FOR_CONNECTING,
        network=Network(resolve),
    )
    api = AuthenticationAPI("application", "secret", transport=transport)
    with pytest.raises(IampassError) as caught:
        api.authenticate_user("user", deadline=Deadline.after(left), attempts=1)
    transport.close()
    assert caught.value.may_have_started is False
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


def test_a_failure_without_a_number_is_no_outage() -> None:
    assert type(failed(raising(OSError("without a number")))) is LocalFailure


@pytest.mark.parametrize(("left", "outage"), [(TIME_FOR_CONNECTING + 60.0, True), (0.3, False)])
def test_a_time_out_is_an_outage_only_if_connecting_had_all_its_time(left: float, outage: bool) -> None:
    error = failed(raising(socket.timeout("timed out")), left)
    assert isinstance(error, Unavailable)
    assert (error.timed_out, error.outage) == (True, outage)
