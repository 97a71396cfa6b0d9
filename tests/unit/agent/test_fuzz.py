"""The module's frame reader and greeting against bytes that real logins were made of, cut, joined and changed.

The seeds are those of the native door's fuzzer: what both sides of real logins sent. FUZZ_EXAMPLES sets how long it
goes on.
"""

from __future__ import annotations

import contextlib
import os
import socket
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pam_iampass.agent import wire
from pam_iampass.agent.application import RemoteApplication
from pam_iampass.agent.server import serve
from pam_iampass.agent.wire import FrameError, FrameType, Hello, receive_login
from pam_iampass.login.application import ApplicationGone, PamApplication
from pam_iampass.outcome import Phase
from tests.support.examples import examples
from tests.support.frames import encode_items

SEEDS = sorted(
    path.read_bytes() for path in (Path(__file__).parents[3] / "doors/native/fuzz/seeds").iterdir()
)
HELLO = Hello(Phase.AUTHENTICATE, 0x8000, ("debug", "first_factor=publickey")).encode().encode()
ITEMS = encode_items(
    {"user": b"alice", "service": b"sshd", "ssh_auth_info": b"publickey ssh-ed25519 A"}
).encode()
EXAMPLES = int(os.environ.get("FUZZ_EXAMPLES", examples(300)))


@st.composite
def streams(draw: st.DrawFn) -> bytes:
    """Bytes of real logins, taken apart and put together otherwise, with single bytes changed."""
    sources = st.sampled_from([*SEEDS, HELLO, ITEMS, HELLO + ITEMS])
    data = bytearray(b"".join(draw(st.lists(sources, min_size=1, max_size=4))))
    for _ in range(draw(st.integers(0, 6))):
        if data:
            data[draw(st.integers(0, len(data) - 1))] = draw(st.integers(0, 255))
    begin = draw(st.integers(0, len(data)))
    return bytes(data[begin if draw(st.booleans()) else 0 : draw(st.integers(begin, len(data)))])


fuzzed = settings(
    max_examples=EXAMPLES,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)


def test_there_are_seeds() -> None:
    assert len(SEEDS) > 5


@fuzzed
@given(streams())
def test_what_a_door_sends_first_is_understood_or_refused(data: bytes) -> None:
    ours, its = socket.socketpair()
    with ours, its:
        ours.sendall(data)
        ours.shutdown(socket.SHUT_WR)
        try:
            hello, items = receive_login(its)
        except (FrameError, ApplicationGone):
            return
    assert hello.phase in Phase
    assert set(items) <= wire.KNOWN_ITEMS


@fuzzed
@given(streams())
def test_a_login_never_answers_what_the_module_did_not_decide(data: bytes) -> None:
    decided: list[int] = []

    def authenticate(pamh: PamApplication, _flags: int, _argv: list[str]) -> int:
        with contextlib.suppress(Exception):
            pamh.pause(0)
        decided.append(11)
        return 11

    ours, its = socket.socketpair()
    with ours:
        ours.sendall(data)
        ours.shutdown(socket.SHUT_WR)
        serve(its, {Phase.AUTHENTICATE: authenticate, Phase.ACCOUNT: authenticate})
        received = b""
        with contextlib.suppress(ConnectionResetError):
            while chunk := ours.recv(65536):
                received += chunk
    wanted = [wire.result(11).encode()] if decided else []
    assert received == b"".join(wanted) or received == b""


@pytest.mark.parametrize(
    "kind", [kind for kind in FrameType if kind not in (FrameType.ANSWER, FrameType.NO_ANSWER)]
)
def test_a_frame_in_the_place_of_an_answer_is_the_end_of_the_application(kind: FrameType) -> None:
    ours, its = socket.socketpair()
    with ours, its, contextlib.ExitStack() as after_reply:
        handle = RemoteApplication(its, {"user": "alice"}, after_reply)
        ours.sendall(wire.Frame(kind, b"").encode())
        from pam_iampass.login.application import PamMessage

        with pytest.raises(ApplicationGone):
            handle.conversation(PamMessage(RemoteApplication.PAM_PROMPT_ECHO_ON, "Enter: "))
