"""Changes the key table: writes one file for each person in `keys.d`, and never changes `keys.yaml`."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path

import yaml

from pam_iampass.config.key_table import KeyEntry, KeyReport, check, folder_of, read
from pam_iampass.config.user_table import file_name
from pam_iampass.config.user_table_editing import TableEditor, require_name
from pam_iampass.errors import ConfigurationError, EditRefused, shown
from pam_iampass.system.service_user import SERVICE_USER


class KeyTableEditor(TableEditor):
    """Adds keys and certificates of people, and removes them."""

    LOCK = ".keys.lock"

    def __init__(
        self, keys: Path, *, owner: int = 0, module_user: str = SERVICE_USER, patience: float = 10.0
    ) -> None:
        """`keys` is the absolute path of `keys.yaml`; the rest is as for `UserTableEditor`."""
        super().__init__(folder_of(keys), owner, module_user, patience)
        self._keys = keys

    def add(
        self, new: Mapping[str, Iterable[KeyEntry]], *, dry_run: bool = False
    ) -> dict[str, list[KeyEntry]]:
        """Add entries of people; returns those of each that were not there. All are checked before one is written.

        Raises EditRefused, UntrustedFile and ConfigurationError. With `dry_run` nothing is written.
        """
        with self._locked():
            report = self._valid()
            owners = {place.entry: place.person for place in report.places}
            added: dict[str, list[KeyEntry]] = {}
            for person, entries in new.items():
                require_name(person)
                for entry in dict.fromkeys(entries):
                    other = owners.setdefault(entry, person)
                    if other != person:
                        what = f"{entry} is already that of {shown(other)}, and cannot be that of {shown(person)}"
                        raise EditRefused(what, "see: pam-iampass key list; nothing was changed")
                    if not any((place.person, place.entry) == (person, entry) for place in report.places):
                        added.setdefault(person, []).append(entry)
            if not dry_run:
                for person, entries in added.items():
                    self._make_folder()
                    self._write(person, [*self._own(report, person), *entries])
            return added

    def remove(self, person: str, entries: Iterable[KeyEntry] | None = None) -> list[KeyEntry]:
        """Remove entries of a person, None for all; returns them. Raises as `add` does, with nothing changed."""
        with self._locked():
            report = self._valid()
            theirs = [place for place in report.places if place.person == person]
            gone = [place.entry for place in theirs] if entries is None else list(entries)
            for entry in gone:
                places = [place for place in theirs if place.entry == entry]
                if not places:
                    raise EditRefused(f"{entry} is not of {shown(person)}", "see: pam-iampass key list")
                by_hand = [place for place in places if place.file == self._keys]
                if by_hand:
                    what = f"{entry} is in {self._keys}:{by_hand[0].line}, which is only edited by hand"
                    raise EditRefused(what, "delete it there; nothing was changed")
            if not gone:
                raise EditRefused(f"{shown(person)} has no keys", "see: pam-iampass key list")
            left = [entry for entry in self._own(report, person) if entry not in gone]
            if left:
                self._write(person, left)
            else:
                self._remove_file(self._folder / file_name(person))
            return gone

    def _own(self, report: KeyReport, person: str) -> list[KeyEntry]:
        """The entries in the person's own file."""
        return [p.entry for p in report.places if p.person == person and p.file != self._keys]

    def _valid(self) -> KeyReport:
        """The table. Raises ConfigurationError if a file of it is broken: what it has must not be lost."""
        report = check(self._keys, owner=self._owner)
        if report.broken:
            raise ConfigurationError(report.broken)
        return report

    def _write(self, person: str, entries: list[KeyEntry]) -> None:
        def matches(file: Path) -> bool:
            places, problems = read(file, self._owner, person)
            return not problems and [place.entry for place in places] == entries

        self._write_file(person, _as_yaml(person, entries), matches)


def _as_yaml(person: str, entries: Iterable[KeyEntry]) -> bytes:
    values = [entry.as_written() for entry in entries]
    style = None if person.isprintable() else '"'
    text: str = yaml.safe_dump(
        {person: values}, allow_unicode=True, sort_keys=False, width=10_000, default_style=style
    )
    return text.encode("utf-8")
