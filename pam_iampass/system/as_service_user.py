"""Does work as the user that the module runs as, whose folders root must not touch as root."""

from __future__ import annotations

import json
import os
import pwd
from typing import Any, Callable, NoReturn

from pam_iampass.errors import PamIampassError, StateError
from pam_iampass.system.service_user import SERVICE_USER, become


class CannotBecome(PamIampassError):
    """This process may not become the user that the module runs as; the text says what to do."""


def as_service_user(work: Callable[[], Any], user: str = SERVICE_USER) -> Any:
    """What `work` returns, a value that JSON can hold; it runs in a child that has become `user` for good.

    Whoever could write the user's folders could put links there: as that user they lead nowhere that it could not go
    itself. Raises StateError as `work` does, and CannotBecome.
    """
    try:
        account = pwd.getpwnam(user)
    except KeyError:
        message = f"there is no user {user}: run systemd-sysusers"
        raise CannotBecome(message) from None
    if os.geteuid() == account.pw_uid:
        return work()
    if os.geteuid() != 0:
        raise CannotBecome("run it as root")
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(reading)
        _work_as(user, work, writing)
    os.close(writing)
    with os.fdopen(reading, "rb") as pipe:
        told = pipe.read()
    os.waitpid(child, 0)
    return _result(told)


def _work_as(user: str, work: Callable[[], Any], writing: int) -> NoReturn:
    """The child's whole life."""
    try:
        os.chdir("/")
        os.umask(0o077)
        become(user)
        told: dict[str, Any] = {"result": work()}
    except StateError as error:
        told = {"what": error.what, "remedy": error.remedy}
    except PamIampassError as error:
        told = {"what": str(error), "remedy": "run pam-iampass check"}
    except BaseException as error:  # noqa: BLE001 - it ends here, whatever it is
        told = {"what": f"failed with {type(error).__name__}", "remedy": "run pam-iampass check"}
    try:
        with os.fdopen(writing, "wb") as pipe:
            pipe.write(json.dumps(told).encode())
    finally:
        os._exit(0)


def _result(told: bytes) -> Any:
    try:
        said = json.loads(told)
    except ValueError:
        said = {"what": "the work was broken off", "remedy": "try again"}
    if "result" not in said:
        raise StateError(said["what"], said["remedy"])
    return said["result"]
