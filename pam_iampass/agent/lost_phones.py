"""Tells IAMPASS of lost phones until it has disabled them."""

from __future__ import annotations

import threading
from typing import Callable

from pam_iampass.audit.journal import NOTICE, WARNING, Journal
from pam_iampass.client import ManagementAPI, ManagementAPIResult
from pam_iampass.client.connection import Deadline
from pam_iampass.client.errors import Declined, IampassError, NotFound, Unavailable
from pam_iampass.errors import PamIampassError, StateError, shown
from pam_iampass.login.context import Configuration
from pam_iampass.login.lost_phones import LostPhones

_SECONDS = 10.0


class LostPhoneReports:
    """Tells IAMPASS of the lost phones until it has disabled them, in a thread of its own while there are any."""

    def __init__(
        self,
        phones: LostPhones,
        configure: Callable[[str], Configuration],
        manager: Callable[[str], ManagementAPI],
        journal: Journal,
    ) -> None:
        """`configure` and `manager` return what is in a settings file now. Both raise ConfigurationError."""
        self._phones = phones
        self._configure = configure
        self._manager = manager
        self._journal = journal
        self._problems: dict[str, str] = {}
        self._thread: threading.Thread | None = None

    def resume(self) -> None:
        """Tell it once more, unless that is under way. Waits for nothing."""
        if self._phones.all() and not (self._thread and self._thread.is_alive()):
            self._thread = threading.Thread(target=self.tell, daemon=True)
            self._thread.start()

    def tell(self) -> None:
        """Tell it of each phone, and write to the journal once what comes of it."""
        for person, config in self._phones.all().items():
            try:
                self._tell(person, config)
                text, priority = f"IAMPASS has disabled the lost phone of {shown(person)}", NOTICE
            except StateError as error:
                what = f"IAMPASS has disabled the lost phone of {shown(person)}, and the next agent tells it once more"
                text, priority = f"{what}: {error}", WARNING
            except (IampassError, PamIampassError) as error:
                what = f"IAMPASS has not disabled the lost phone of {shown(person)} yet"
                text, priority = f"{what}; logins that need it are denied: {error}", WARNING
            if self._problems.get(person) != text:
                self._journal.note(text, priority)
            self._problems[person] = text

    def _tell(self, person: str, config: str) -> None:
        configuration = self._configure(config)
        entry = configuration.users.find(person)
        service = configuration.settings.service
        token = entry.token if entry and entry.token else service.unlisted_users.token_for(person)
        if (
            token is not None and not configuration.settings.gateways
        ):  # otherwise no phone of theirs is asked here
            disable_lost_phone(self._manager(config), token)
        self._phones.discard(person)


def disable_lost_phone(manager: ManagementAPI, token: str) -> None:
    """Have IAMPASS disable a phone; the link in its answer, which registers another one, goes nowhere. It can be
    repeated. Raises IampassError."""
    try:
        manager.lost_mobile_device(token, deadline=Deadline.after(_SECONDS))
    except IampassError as error:
        # IAMPASS may decline for want of a phone. The person would be kept out for ever.
        if isinstance(error, Unavailable) or _may_have_phone(manager, token):
            raise


def _may_have_phone(manager: ManagementAPI, token: str) -> bool:
    """Whether IAMPASS does not say that this person has no phone. Raises IampassError."""
    deadline = Deadline.after(_SECONDS)
    try:
        found = manager.has_registered_mobile_device(token, deadline=deadline)
        return found is not ManagementAPIResult.no_mobile_device
    except (Declined, NotFound):
        return not manager.knows_application(
            deadline=deadline
        )  # it knows the application, and no such person
