"""The published client in a Python of its own."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from types import TracebackType
from typing import Any

from tests.sandbox.signer import Server
from tests.support.deadline import PATIENCE
from tests.support.venv import python_of

_DRIVER = Path(__file__).with_name("witness_driver.py")


def witness_python() -> Path:
    """A Python that can import the published client. Raises FileNotFoundError where it is not installed."""
    return python_of("published-client")


class Witness:
    """A process that makes the requested calls, one line of JSON each way."""

    def __init__(self, python: Path, sandbox: Server, application_secret: str | None = None) -> None:
        environment = {
            "PATH": os.environ["PATH"],
            "IAMPASS_SERVER": sandbox.url,
            "SSL_CERT_FILE": str(sandbox.ca_file),
            "APPLICATION_ID": sandbox.application_id,
            "APPLICATION_SECRET": application_secret or sandbox.application_secret,
        }
        self._process = subprocess.Popen(
            [str(python), "-I", "-W", "ignore", str(_DRIVER)],
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            encoding="utf-8",
        )

    def __enter__(self) -> Witness:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._process.communicate(timeout=PATIENCE)

    def call(self, name: str, *arguments: Any, **named: Any) -> Any:
        """What the client's method returned."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        print(json.dumps([name, arguments, named]), file=self._process.stdin, flush=True)
        return json.loads(self._process.stdout.readline())
