"""Runs in the published client's own Python: reads calls as lines of JSON, prints what came of each."""

from __future__ import annotations

import enum
import json
import os
import sys
from typing import Any

from IAMPASS.authentication_api import AuthenticationAPI, AuthenticationMethod
from IAMPASS.management_api import ManagementAPI, ManagementAPIResult
from IAMPASS.session import Session
from IAMPASS.status import Status


class Driver:
    """The calls of the page; those of the management API are that object's own."""

    def __init__(self) -> None:
        keys = {
            "application_id": os.environ["APPLICATION_ID"],
            "application_secret": os.environ["APPLICATION_SECRET"],
        }
        self._authentication: Any = AuthenticationAPI(**keys)
        self._management: Any = ManagementAPI(**keys)
        self._session: Any = None

    def call(self, name: str, arguments: list[Any], named: dict[str, Any]) -> Any:
        own = getattr(self, name, None) or getattr(self._management, name)
        return own(*arguments, **named)

    def surface(self) -> dict[str, list[str]]:
        classes = (
            AuthenticationAPI,
            ManagementAPI,
            Session,
            Status,
            AuthenticationMethod,
            ManagementAPIResult,
        )
        return {each.__name__: [name for name in vars(each) if not name.startswith("_")] for each in classes}

    def authenticate_user(
        self, user: str, methods: list[str] | None = None, duration: int | None = None
    ) -> Any:
        chosen = None if methods is None else [AuthenticationMethod[name] for name in methods]
        self._session = self._authentication.authenticate_user(user, chosen, duration)
        return None if self._session is None else self.state()

    def state(self) -> dict[str, Any]:
        names = ("failed", "in_progress", "active", "failure_reason", "session_status")
        return {name: getattr(self._session, name) for name in names}

    def get_status(self) -> Any:
        return self._session.get_status()

    def destroy(self) -> Any:
        return self._session.destroy()

    def dumps(self) -> Any:
        return Session.Schema().dumps(self._session)

    def loads(self, text: str) -> Any:
        self._session = Session.Schema().loads(text)
        return self.state()


def plain(value: Any) -> Any:
    """The same with names for enums, which JSON would write as numbers or not at all."""
    if isinstance(value, enum.Enum):
        return value.name
    if isinstance(value, dict):
        return {key: plain(each) for key, each in value.items()}
    return [plain(each) for each in value] if isinstance(value, (list, tuple)) else value


driver = Driver()
for line in sys.stdin:
    print(json.dumps(plain(driver.call(*json.loads(line)))), flush=True)
