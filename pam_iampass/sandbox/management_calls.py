"""Calls about users and their devices."""

from __future__ import annotations

import re

from pam_iampass.sandbox.backend import Backend
from pam_iampass.sandbox.errors import Unknown, bad_request
from pam_iampass.sandbox.reply import ServiceReply
from pam_iampass.sandbox.request import IncomingRequest, text_of

_PHONE_NUMBER = re.compile(r"\+[1-9][0-9]{6,14}", re.ASCII)
_DEFAULT_MESSAGE = "Register this phone for IAMPASS:"


def add_users(backend: Backend, request: IncomingRequest) -> ServiceReply:
    """``POST /management/add_users/<app>``, body ``{"users": [id, …]}``; 201 even if all of them exist."""
    users = _users(backend, request)
    new = backend.state.users.add(users)
    created = [user for user in users if new[user]]
    existing = [user for user in users if not new[user]]
    return ServiceReply.of({"status": True, "users": {"created": created, "existing": existing}}, 201)


def delete_users(backend: Backend, request: IncomingRequest) -> ServiceReply:
    """``POST /management/delete_users/<app>``, body ``{"users": [id, …]}``; false if one of several is unknown."""
    users = _users(backend, request)
    deleted = [backend.state.delete_user(user) for user in users]
    if not any(deleted):
        raise Unknown("user", users[0])
    return ServiceReply.of({"status": all(deleted)})


def link(backend: Backend, request: IncomingRequest) -> ServiceReply:
    """``GET /management/device_registration_link/<app>/<user>[?display_name=…]``."""
    user = backend.require_user(request)
    request.parameters("display_name")
    request.require_no_body()
    return ServiceReply.of({"status": True, "register_url": _new_link(backend, request, user)})


def sms(backend: Backend, request: IncomingRequest) -> ServiceReply:
    """``POST /management/send_registration_sms/<app>/<user>``, body with ``phone_number`` and optional texts."""
    user = backend.require_user(request)
    request.parameters()
    value = request.json("phone_number", optional=("display_name", "message"))
    display_name, message = text_of(value, "display_name"), text_of(value, "message")
    phone_number = text_of(value, "phone_number") or ""
    if not _PHONE_NUMBER.fullmatch(phone_number):
        return ServiceReply.of({"status": False, "reason": "INVALID_PHONE_NUMBER"})
    text = f"{message or _DEFAULT_MESSAGE} {_new_link(backend, request, user)}"
    backend.state.users.send_sms(user, phone_number, display_name, text)
    return ServiceReply.of({"status": True})


def device(backend: Backend, request: IncomingRequest) -> ServiceReply:
    """``GET /management/has_registered_mobile_device/<app>/<user>``."""
    user = backend.require_user(request)
    request.parameters()
    request.require_no_body()
    return ServiceReply.of({"device_registered": backend.state.users.has_device(user)})


def lost_device(backend: Backend, request: IncomingRequest) -> ServiceReply:
    """``GET /management/lost_user_mobile_device/<app>/<user>``: disables the user's device and makes a new link."""
    user = backend.require_user(request)
    request.parameters()
    request.require_no_body()
    backend.state.disable_device(user)
    return ServiceReply.of({"status": True, "register_url": _new_link(backend, request, user)})


def _users(backend: Backend, request: IncomingRequest) -> list[str]:
    """The user ids of a signed request, each once, in order."""
    backend.require_application(request)
    request.parameters()
    users = request.json("users")["users"]
    if not isinstance(users, list) or not users:
        raise bad_request("BAD_BODY", "users must be a list and not empty")
    if not all(isinstance(user, str) and user and user.isprintable() for user in users):
        raise bad_request("BAD_BODY", "each user must be text, not empty, without control characters")
    return list(dict.fromkeys(users))


def _new_link(backend: Backend, request: IncomingRequest, user: str) -> str:
    return f"{request.origin}/register/{backend.state.users.make_link(user)}"
