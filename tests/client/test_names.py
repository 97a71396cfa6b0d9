"""The public surface: names, the tree of errors, deadlines."""

from __future__ import annotations

import pytest

from pam_iampass.client import (
    AuthenticationMethod,
    BadSignature,
    Deadline,
    Declined,
    IampassError,
    LocalFailure,
    ManagementAPIResult,
    NotFound,
    ProtocolError,
    Refused,
    SessionFailed,
    Status,
    TLSFailure,
    Unavailable,
    errors,
)
from pam_iampass.client.errors import printable
from pam_iampass.client.origin import Origin


def test_statuses_and_methods_are_the_published_ones() -> None:
    assert {status.name: status.value for status in Status} == {
        "pending": 1,
        "timeout": 2,
        "closed": 3,
        "failed": 4,
        "walkaway": 5,
        "active": 6,
        "identifying": 7,
        "cancelled": 8,
    }
    assert {result.name: result.value for result in ManagementAPIResult} == {
        "success": 0,
        "failed": 1,
        "user_exists": 2,
        "has_mobile_device": 3,
        "no_mobile_device": 4,
    }
    assert [(method.name, method.value) for method in AuthenticationMethod] == [
        (name, name) for name in ("acceptance", "device", "facial")
    ]


def test_the_tree_of_errors_is_the_one_that_is_drawn() -> None:
    kinds = (
        Unavailable,
        Refused,
        NotFound,
        Declined,
        TLSFailure,
        LocalFailure,
        ProtocolError,
        BadSignature,
        SessionFailed,
    )
    assert set(IampassError.__subclasses__()) == set(kinds)
    assert errors.__doc__ is not None
    drawn = [line.split()[1] for line in errors.__doc__.splitlines() if "── " in line]
    assert drawn == [kind.__name__ for kind in kinds]


@pytest.mark.parametrize("kind", [IampassError, Unavailable, TLSFailure, ProtocolError, SessionFailed])
def test_an_error_says_what_happened_and_what_to_do(kind: type[IampassError]) -> None:
    assert kind("poll: it broke").diagnostics() == f"poll: it broke. {kind.remedy}"
    assert kind("poll: it broke", remedy="Mend it.").diagnostics() == "poll: it broke. Mend it."
    assert kind("x").may_have_started is False


def test_text_from_outside_becomes_short_and_printable() -> None:
    assert printable("fine – 漢") == "fine – 漢"
    assert printable("\x1b[2J\u202ea\nb\x9b") == "�[2J�a�b�"
    assert len(printable("x" * 201)) == 200
    assert printable("x" * 200) == "x" * 200


def test_a_deadline_counts_down_and_never_below_zero() -> None:
    now = [100.0]
    deadline = Deadline.after(10.0, lambda: now[0])
    assert (deadline.remaining(), deadline.expired) == (10.0, False)
    assert deadline.sooner(3.0).at == 103.0
    assert deadline.sooner(30.0).at == 110.0
    now[0] = 111.0
    assert (deadline.remaining(), deadline.expired) == (0.0, True)
    assert deadline.sooner(3.0).at == 110.0


@pytest.mark.parametrize(
    ("server", "url"),
    [
        ("https://iam-api.com", "https://iam-api.com"),
        ("HTTPS://IAM-API.com:443/", "https://iam-api.com"),
        ("https://[::0001]:443", "https://[::1]"),
        ("https://[FE80::1]:8443", "https://[fe80::1]:8443"),
    ],
)
def test_an_origin_has_one_form(server: str, url: str) -> None:
    assert Origin.of(server).url == url
    assert Origin.of(url) == Origin.of(server)
    assert Origin.of(server).owns(f"{url}/path")
