"""Reads and checks the fields with which a host starts a request."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from pam_iampass.client.status import AuthenticationMethod
from pam_iampass.gateway.people.agents import Agent
from pam_iampass.server.messages import IncomingRequest, Start, bad_request, text_of
from pam_iampass.server.serving import require_digest
from pam_iampass.session.presence import between_hosts
from pam_iampass.text import clean

_OF_LOGIN = ("asker", "service", "remote", "caller", "session_user", "key", "login")

PARAMETERS = ("request_id", "machine", "timeout", "connection", "body_sha256", *_OF_LOGIN)
"""The parameters that the query of a start can have at a gateway, beside those of IAMPASS. They are signed, too."""

_LONGEST_COMMAND = 1200
"""Characters. No host of ours sends more."""

SHORTEST_REQUEST_SECONDS = 15
"""A phone rings for this long at least, unless its host ends the request: else nobody could cancel it."""

LONGEST_REQUEST_SECONDS = 300
"""No login waits for an answer for longer."""


@dataclass(frozen=True)
class AskedStart:
    """A start as a host asks for it."""

    person: str
    methods: tuple[AuthenticationMethod, ...]
    duration: int
    patience: int
    """Seconds for which the login waits for an answer."""
    request_id: str | None
    machine: str | None
    connection: str | None
    """The addresses and ports of the client and the server, as sshd there has them; None if the host has not said."""
    details: Mapping[str, str]
    digest: bytes
    """The digest of all parameters: a repeat has the same."""
    agent: str = ""
    """The account that logs in, if it acts for `person`: of that the gateway knows, and no host."""

    @property
    def account(self) -> str:
        """The user who logs in."""
        return self.agent or self.details.get("asker") or self.person

    @property
    def is_persons_own(self) -> bool:
        """Whether the person logs in: neither is the person asked as a second one, nor by an account that acts for
        them."""
        return not self.agent and "asker" not in self.details

    def of_agent(self, agent: Agent) -> AskedStart:
        """The same start, of an account that acts for a person: this person is asked."""
        details = {**self.details, "agent": agent.name}
        return replace(self, person=agent.person, agent=agent.name, details=details)

    @classmethod
    def of(cls, request: IncomingRequest) -> AskedStart:
        """The start for which a request asks. Raises RefusedRequest."""
        start = Start.of(request, *PARAMETERS, body=("command",))
        given = start.parameters
        if start.body or "body_sha256" in given:
            require_digest(request, given.get("body_sha256", ""))
        request_id, machine = given.get("request_id"), machine_of(given)
        if request_id is not None and not is_request_id(request_id):
            raise bad_request("BAD_REQUEST_ID", "request_id must be 22 characters of base64url")
        patience = seconds_of(given, start.duration)
        return cls(
            start.user,
            tuple(AuthenticationMethod[name] for name in start.methods),
            max(start.duration, SHORTEST_REQUEST_SECONDS),
            min(patience, start.duration, LONGEST_REQUEST_SECONDS),
            request_id,
            machine,
            between_hosts(given.get("connection", "")),
            details_of(given, start.body),
            hashlib.sha256(json.dumps([start.user, sorted(given.items())]).encode()).digest(),
        )


def details_of(given: Mapping[str, str], body: dict[str, Any]) -> dict[str, str]:
    """The details of the login in the parameters of a request, and what it runs, in the body. Raises RefusedRequest."""
    details = {name: clean(given[name], 200) for name in _OF_LOGIN if name in given}
    command = text_of(body, "command")
    return details if command is None else {**details, "command": clean(command, _LONGEST_COMMAND)}


def seconds_of(given: Mapping[str, str], otherwise: int) -> int:
    """The seconds for which the login waits for the answer to a request, as it says. Raises RefusedRequest."""
    timeout = given.get("timeout", str(otherwise))
    if not re.fullmatch(r"[1-9][0-9]{0,4}", timeout):
        raise bad_request("BAD_TIMEOUT", "timeout must be a number of seconds")
    return int(timeout)


def machine_of(given: Mapping[str, str]) -> str | None:
    """The machine from which a request comes, as it says. Raises RefusedRequest."""
    machine = given.get("machine")
    if machine is not None and not re.fullmatch(r"[0-9a-f]{32}", machine):
        raise bad_request("BAD_MACHINE", "machine must be 32 hexadecimal digits")
    return machine


def is_request_id(text: str) -> bool:
    """Whether a host may send this as the id of a request."""
    return re.fullmatch(r"[A-Za-z0-9_-]{22}", text) is not None
