"""A local IAMPASS for trials and tests: the whole wire protocol over https, strictly.

    with Sandbox(auto="approve") as sandbox:
        sandbox.add_user("alice")
        ...

``Sandbox`` needs aiohttp and trustme (the extra ``sandbox``); errors and events do not.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pam_iampass.sandbox.errors import SandboxError

if TYPE_CHECKING:
    from pam_iampass.sandbox.sandbox import Sandbox

__all__ = ["Sandbox", "SandboxError"]


def __getattr__(name: str) -> Any:
    # Imported late: the command's help must work without aiohttp.
    if name == "Sandbox":
        from pam_iampass.sandbox.sandbox import Sandbox

        return Sandbox
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
