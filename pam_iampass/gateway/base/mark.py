"""How far a database has come, as each gateway remembers it outside the database (`restored.py`)."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Mark:
    """How far a database has come."""

    fleet: str
    """The id of the installation."""
    restores: int
    """How often a restored database was confirmed."""
    records: int
    """How many records were ever written."""
    newest: int = 0
    """The id of the newest record; 0 if there is none."""
    written: str = ""
    """The time at which that was written. Other records can take its place before anybody looks."""
    old_copy: bool = False
    """Whether an old copy was found since, by this gateway or another one: what is written to it does not make it a
    new one."""

    def is_behind(self, seen: Mark) -> bool:
        """Whether this database is older than it was when `seen` was true of it, and nobody has confirmed that."""
        if self.old_copy or self.fleet != seen.fleet or self.restores < seen.restores:
            return True
        return self.restores == seen.restores and (seen.old_copy or self.records < seen.records)
