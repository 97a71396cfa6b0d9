"""Prints what the programs of a screen show, by accessibility: runs in the machine, as the user whose screen it is.

One line for each visible widget: its role, its text, and `focused` for the one that gets what is typed.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

import_module("gi").require_version("Atspi", "2.0")
Atspi: Any = import_module("gi.repository.Atspi")


def show(widget: Any) -> None:
    """Print a widget, and those in it."""
    if widget is None:
        return
    states = widget.get_state_set()
    outer = widget.get_role() in (Atspi.Role.DESKTOP_FRAME, Atspi.Role.APPLICATION)
    if outer or states.contains(Atspi.StateType.SHOWING):
        focused = "focused" if states.contains(Atspi.StateType.FOCUSED) else ""
        print(f"{widget.get_role_name()}: {widget.get_name()} {focused}".rstrip())
        for number in range(widget.get_child_count()):
            show(widget.get_child_at_index(number))


if __name__ == "__main__":
    show(Atspi.get_desktop(0))
