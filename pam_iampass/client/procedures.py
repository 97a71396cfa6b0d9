"""Procedures: several calls of an application that belong together, without I/O.

A procedure yields a call, is sent its result or thrown its IampassError, and so on; it returns the result of all. The
gateway makes the calls in its event loop, `run` in whatever way blocks.
"""

from __future__ import annotations

from collections.abc import Generator
from functools import partial
from typing import Any, Callable, TypeVar

from .application import Application
from .call import Call
from .errors import Declined, IampassError, NotFound, ProtocolError, Unavailable
from .status import ManagementAPIResult

T = TypeVar("T")
Procedure = Generator[Call[Any], Any, T]


def run(procedure: Procedure[T], make: Callable[[Call[Any]], Any]) -> T:
    """Make the calls of a procedure with `make`; its result."""
    go_on = partial(procedure.send, None)
    try:
        while True:
            call = go_on()
            try:
                go_on = partial(procedure.send, make(call))
            except IampassError as error:
                go_on = partial(procedure.throw, error)
    except StopIteration as stop:
        result: T = stop.value
        return result


def knows_application(application: Application) -> Procedure[bool]:
    """Whether IAMPASS knows the application."""
    try:
        yield application.nothing()
    except NotFound:
        return False
    except ProtocolError as error:
        if error.may_have_started:  # anything but a complete 4xx, which may be about the empty list
            raise
    return True


def knows_user(application: Application, user: str) -> Procedure[bool]:
    """Whether IAMPASS may know this user: that it does not is certain only if it knows the application."""
    try:
        yield application.has_device(user)
    except (Declined, NotFound):
        return not (yield from knows_application(application))
    return True


def disable_phone(application: Application, user: str) -> Procedure[None]:
    """Disable the phone of a user, if there is one. The link in the answer, which registers another one, goes
    nowhere."""
    try:
        yield application.lost_device(user)
    except IampassError as error:
        # IAMPASS may decline for want of a phone. The person would be kept out for ever.
        if isinstance(error, Unavailable) or (yield from may_have_phone(application, user)):
            raise


def remove_user(application: Application, user: str) -> Procedure[None]:
    """Delete a user with the phone, if IAMPASS knows the user."""
    try:
        yield application.delete_users([user])
    except (Declined, NotFound):
        if (yield from knows_user(application, user)):
            raise


def may_have_phone(application: Application, user: str) -> Procedure[bool]:
    """Whether IAMPASS does not say that this user has no phone."""
    try:
        return (yield from has_phone(application, user))
    except (Declined, NotFound):
        return True


def has_phone(application: Application, user: str) -> Procedure[bool]:
    """Whether this user has a phone. Raises Declined and NotFound if IAMPASS does not know the application either."""
    try:
        return (yield application.has_device(user)) is not ManagementAPIResult.no_mobile_device
    except (Declined, NotFound):
        if not (yield from knows_application(application)):
            raise
        return False
