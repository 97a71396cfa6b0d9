"""What the design takes for granted of pam_python and Linux-PAM, asked of the real programs.

If one of these fails after an upgrade, the program has changed, and what leans on it must be thought over. What the
design takes for granted of sshd, su and sudo shows in their logins (test_sshd.py, test_quiet.py, setuid).
"""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

SERVICE = "fact"
CODES = {
    "success": "successfully authenticated",
    "service error": "Error in service module",
    "symbol": "Symbol not found",
    "open": "Failed to load module",
    "permission": "Permission denied",
}
HANDLERS = "\n".join(
    f"def pam_sm_{phase}(pamh, flags, argv): return 25"
    for phase in ("setcred", "acct_mgmt", "open_session", "close_session", "chauthtok")
)


def stack(*lines: str) -> None:
    """Write a PAM file."""
    rest = ["account required pam_permit.so", "session required pam_permit.so"]
    Path(f"/etc/pam.d/{SERVICE}").write_text("\n".join([*lines, *rest]) + "\n")


def authenticate() -> str:
    """What pamtester says."""
    command = ["pamtester", SERVICE, "alice", "authenticate"]
    done = subprocess.run(
        command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=90, check=False
    )
    return done.stdout + done.stderr


@pytest.mark.parametrize(
    ("script", "said"),
    [
        ("def pam_sm_authenticate(pamh, flags, argv): return 0", "success"),
        ("def pam_sm_authenticate(pamh, flags, argv): return False", "success"),
        ("def pam_sm_authenticate(pamh, flags, argv): return 2**32", "success"),
        ("def pam_sm_authenticate(pamh, flags, argv): return None", "service error"),
        ("def pam_sm_authenticate(pamh, flags, argv): raise ValueError", "service error"),
        ("def pam_sm_authenticate(pamh, flags, argv): raise SystemExit(0)", "service error"),
        ("def pam_sm_authenticate(pamh, flags, argv): import neighbour; return 0", "service error"),
        ("", "symbol"),
        ("def", "service error"),
        (None, "open"),
    ],
    ids=[
        *("0", "False", "2**32", "None", "an exception", "SystemExit", "a module in the script's own folder"),
        *("no handler", "a syntax error", "no script"),
    ],
)
def test_what_pam_python_makes_of_a_script(
    machine: None, folder: Path, script: str | None, said: str
) -> None:
    file = folder / "script.py"
    file.unlink(missing_ok=True)
    (folder / "neighbour.py").touch()
    if script is not None:
        file.write_text(f"{script}\n{HANDLERS if script != 'def' else ''}\n")
    stack(f"auth required pam_python.so {file}")
    assert CODES[said] in authenticate()


def test_a_stack_in_which_every_module_ignores_fails(machine: None, folder: Path) -> None:
    script = folder / "script.py"
    script.write_text(f"def pam_sm_authenticate(pamh, flags, argv): return 25\n{HANDLERS}\n")
    ours = f"auth required pam_python.so {script}"
    stack(ours)
    assert CODES["permission"] in authenticate()
    stack(ours, "auth required pam_permit.so")
    assert CODES["success"] in authenticate()
