"""The ways from sshd to the module: the door, and the agent or the helper."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Way:
    """One way from sshd to the module."""

    name: str
    line: str
    agent: bool

    def __str__(self) -> str:
        return self.name


NATIVE, PAM_PYTHON = "pam_iampass.so", "pam_python.so /usr/lib/pam-iampass/pam_iampass.py"
WITH_AGENT = Way("native door, agent", NATIVE, agent=True)
WITH_HELPER = (
    Way("native door, helper", NATIVE, agent=False),
    Way("pam_python door, helper", PAM_PYTHON, agent=False),
)
