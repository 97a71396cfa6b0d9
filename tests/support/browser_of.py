"""People who sign in at the portal, as the gateway sees them: browsers with passkeys, and what they ask for."""

from __future__ import annotations

import secrets
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar

from pam_iampass.gateway.acts.act import Act, challenge, perform
from pam_iampass.gateway.base.connection import Connection
from pam_iampass.gateway.base.gateway import Gateway
from pam_iampass.gateway.base.settings import OperatorSettings, PortalSettings
from pam_iampass.gateway.base.statements import one, replace
from pam_iampass.gateway.people import people
from pam_iampass.gateway.sign_in import passkeys, sign_ins, webauthn
from pam_iampass.gateway.sign_in.sign_ins import SignedIn
from tests.support.authenticator import Authenticator
from tests.support.gateway import RunningGateway

T = TypeVar("T")
PORTAL = PortalSettings("https://iampass.example.com")
OPERATORS = OperatorSettings(
    admin=frozenset({"it"}),
    auditor=frozenset({"sec"}),
    helpdesk=frozenset({"desk"}),
    helps=frozenset({"staff"}),
)
REMOTE = "192.0.2.77"


@dataclass
class Browser:
    """A browser that has signed in."""

    running: RunningGateway
    authenticator: Authenticator
    person: str
    token: str
    once: str = field(default_factory=lambda: secrets.token_hex(8))
    """The id of the next act, as its page has made it."""

    def touch(self, act: Act[Any]) -> dict[str, Any]:
        """An assertion over an act, by the passkey of the sign-in."""
        by = SignedIn(self.token, REMOTE, once=self.once)
        return self.authenticator.get(self.running.run(challenge(self.running.gateway, by, act)))

    def do(self, act: Act[T], touch: Mapping[str, Any] | None = None, phone: uuid.UUID | None = None) -> T:
        """Perform an act, with a touch over it unless another one is given."""
        return self._perform(act, self.touch(act) if touch is None else touch, phone)

    def do_without_touch(self, act: Act[T]) -> T:
        return self._perform(act, None, None)

    def _perform(self, act: Act[T], touch: Mapping[str, Any] | None, phone: uuid.UUID | None) -> T:
        by = SignedIn(self.token, REMOTE, touch, phone, self.once)
        done = self.running.run(perform(self.running.gateway, by, act))
        self.once = secrets.token_hex(8)
        return done


def with_passkey(running: RunningGateway, person: str, *, by_root: bool = False) -> Authenticator:
    """An authenticator with a new passkey of this person, for which nothing was asked."""
    authenticator = Authenticator(PORTAL.origin)

    async def add(gateway: Gateway, connection: Connection) -> None:
        found = await people.find(gateway, connection, person)
        assert found is not None
        roles = OPERATORS.roles_of(found.groups) if by_root else ()
        made = secrets.token_bytes(48)
        options = webauthn.creation_options(PORTAL, made, person, person, gateway.keys.owner(found.token), ())
        credential = webauthn.registered(PORTAL, authenticator.create(options), made)
        await passkeys.add(gateway, connection, found, credential, "laptop", roles=roles)

    running.transaction(add)
    return authenticator


def sign_in(running: RunningGateway, authenticator: Authenticator) -> sign_ins.NewSignIn:
    """Sign in with the newest passkey."""
    binding = secrets.token_urlsafe(16)
    answer = authenticator.get(sign_ins.sign_in_options(running.gateway, binding))
    return running.run(sign_ins.sign_in(running.gateway, binding, answer, REMOTE, "Firefox"))


def browser_of(running: RunningGateway, person: str, *, by_root: bool = False) -> Browser:
    """A browser of this person, who has signed in with a new passkey."""
    authenticator = with_passkey(running, person, by_root=by_root)
    begun = sign_in(running, authenticator)
    assert begun.person == person
    return Browser(running, authenticator, person, begun.token)


def rewrite(running: RunningGateway, table: str, key: str, value: object, **columns: Any) -> None:
    """Change columns of a row as a gateway writes them, such as when it was made."""

    async def write(gateway: Gateway, connection: Connection) -> None:
        row = await one(connection, f"SELECT * FROM {table} WHERE {key} = %s", value)
        assert row is not None
        await replace(connection, table, key, gateway.keys.sealed(table, {**row, **columns}))

    running.transaction(write)
