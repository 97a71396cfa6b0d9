"""Users, their devices, and how they come by one."""

from __future__ import annotations

import re
from typing import Any

from pam_iampass.sandbox.answer import Answer
from pam_iampass.sandbox.body import read_object, read_text, read_users, require_content_type, require_no_body
from pam_iampass.sandbox.incoming import Incoming
from pam_iampass.sandbox.service import Service
from pam_iampass.sandbox.target import user_id

_PHONE_NUMBER = re.compile(r"\+[1-9][0-9]{6,14}", re.ASCII)
_DEFAULT_MESSAGE = "Register this phone for IAMPASS:"


def add_users(service: Service, incoming: Incoming) -> Answer:
    """``POST /management/add_users/<app>``, body ``{"users": [id, …]}``."""
    users = _signed_users(service, incoming)
    added = service.world.accounts.add_all(users)
    created = [user for user in users if added[user]]
    existing = [user for user in users if not added[user]]
    return Answer.of({"status": True, "users": {"created": created, "existing": existing}})


def delete_users(service: Service, incoming: Incoming) -> Answer:
    """``POST /management/delete_users/<app>``, body ``{"users": [id, …]}``; false where one was unknown."""
    deleted = [service.world.delete_user(user) for user in _signed_users(service, incoming)]
    return Answer.of({"status": all(deleted)})


def link(service: Service, incoming: Incoming) -> Answer:
    """``GET /management/device_registration_link/<app>/<user>[?display_name=…]``."""
    service.require_application(incoming)
    user = user_id(incoming.target.segments[3])
    incoming.target.parameters(frozenset({"display_name"}))
    require_no_body(incoming.body)
    if service.world.accounts.has_device(user) is None:
        return _failed("UNKNOWN_USER")
    return Answer.of({"status": True, "register_url": _link(service, incoming, user)})


def sms(service: Service, incoming: Incoming) -> Answer:
    """``POST /management/send_registration_sms/<app>/<user>``, body with ``phone_number`` and what to say."""
    service.require_application(incoming)
    user = user_id(incoming.target.segments[3])
    incoming.target.parameters(frozenset())
    require_content_type(incoming.headers)
    optional = frozenset({"display_name", "message"})
    value = read_object(incoming.body, frozenset({"phone_number"}), optional)
    display_name, message = _optional_text(value, "display_name"), _optional_text(value, "message")
    phone_number = read_text(value, "phone_number")
    if service.world.accounts.has_device(user) is None:
        return _failed("UNKNOWN_USER")
    if not _PHONE_NUMBER.fullmatch(phone_number):
        return _failed("INVALID_PHONE_NUMBER")
    text = f"{message or _DEFAULT_MESSAGE} {_link(service, incoming, user)}"
    service.world.accounts.send_sms(user, phone_number, display_name, text)
    return Answer.of({"status": True})


def device(service: Service, incoming: Incoming) -> Answer:
    """``GET /management/has_registered_mobile_device/<app>/<user>``; no key means that the call failed."""
    service.require_application(incoming)
    user = user_id(incoming.target.segments[3])
    incoming.target.parameters(frozenset())
    require_no_body(incoming.body)
    registered = service.world.accounts.has_device(user)
    return _failed("UNKNOWN_USER") if registered is None else Answer.of({"device_registered": registered})


def _signed_users(service: Service, incoming: Incoming) -> list[str]:
    service.require_application(incoming)
    incoming.target.parameters(frozenset())
    require_content_type(incoming.headers)
    return read_users(incoming.body)


def _optional_text(value: dict[str, Any], key: str) -> str | None:
    return read_text(value, key) if key in value else None


def _link(service: Service, incoming: Incoming, user: str) -> str:
    return f"{incoming.origin}/register/{service.world.accounts.make_link(user)}"


def _failed(reason: str) -> Answer:
    return Answer.of({"status": False, "reason": reason})
