"""A local IAMPASS to try things out and to test against: the whole wire protocol over https, strictly.

    with Sandbox(auto="approve") as sandbox:
        sandbox.add_user("alice")
        ...

``Sandbox`` needs aiohttp and trustme (the extra ``sandbox``); errors, events and faults do not.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pam_iampass.sandbox.errors import SandboxError

if TYPE_CHECKING:
    from pam_iampass.sandbox.sandbox import Sandbox

__all__ = ["Sandbox", "SandboxError"]


def __getattr__(name: str) -> Any:
    # Late, so that the command's help works where aiohttp is not installed.
    if name == "Sandbox":
        from pam_iampass.sandbox.sandbox import Sandbox

        return Sandbox
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
