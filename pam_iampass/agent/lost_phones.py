"""Tells IAMPASS of lost phones until it has disabled them."""

from __future__ import annotations

import threading
from typing import Callable

from pam_iampass.audit.journal import NOTICE, WARNING, Journal
from pam_iampass.client import Deadline, IampassError, ManagementAPI
from pam_iampass.errors import PamIampassError, StateError, shown
from pam_iampass.login.lost_phones import LostPhone, LostPhones

_SECONDS = 10.0


class LostPhoneReports:
    """Tells IAMPASS of the lost phones until it has disabled them, in a thread of its own while there are any."""

    def __init__(
        self, phones: LostPhones, manager: Callable[[str, str], ManagementAPI], journal: Journal
    ) -> None:
        """`manager` is `Configurations.manager_at_iampass`."""
        self._phones = phones
        self._manager = manager
        self._journal = journal
        self._problems: dict[LostPhone, str] = {}
        self._thread: threading.Thread | None = None

    def resume(self) -> None:
        """Tell it once more, unless that is under way. Waits for nothing."""
        if self._phones.all() and not (self._thread and self._thread.is_alive()):
            self._thread = threading.Thread(target=self.tell, daemon=True)
            self._thread.start()

    def tell(self) -> None:
        """Tell it of each phone, and write the result to the journal once."""
        for phone, config in self._phones.all().items():
            person = shown(phone.person)
            try:
                if not self._tell(phone, config):
                    continue
            except StateError as error:
                what = f"IAMPASS has disabled the lost phone of {person}, and logins that need one are still denied"
                text = f"{what}: {error}"
            except (IampassError, PamIampassError) as error:
                what = f"IAMPASS has not disabled the lost phone of {person} yet"
                text = f"{what}; logins that need it are denied: {error}"
            else:
                self._journal.note(f"IAMPASS has disabled the lost phone of {person}", NOTICE)
                self._problems.pop(phone, None)
                continue
            if self._problems.get(phone) != text:
                self._journal.note(text, WARNING)
            self._problems[phone] = text

    def _tell(self, phone: LostPhone, config: str) -> bool:
        """Tell it of one phone; returns whether that was still to be done. Raises IampassError and PamIampassError."""
        if not phone.token:
            what = f"no token of {shown(phone.person)} was known when it was reported"
            raise PamIampassError(what, "report it again once the user has one: pam-iampass phone lost")
        manager = self._manager(config, phone.application)
        if phone not in self._phones.all():  # the command was first, and the next phone may be registered
            return False
        manager.disable_mobile_device(phone.token, deadline=Deadline.after(_SECONDS))
        self._phones.disabled(phone.application, [phone.token])
        return True
