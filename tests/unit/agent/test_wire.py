"""Frames."""

from __future__ import annotations

import io

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pam_iampass.agent import wire
from pam_iampass.agent.wire import Frame, FrameError, FrameType, Hello
from pam_iampass.outcome import Phase
from tests.support.frames import encode_items

TEXT_WITHOUT_NUL = st.binary(max_size=200).map(lambda data: data.replace(b"\0", b""))


def read_all(data: bytes) -> list[Frame]:
    stream = io.BytesIO(data)
    frames = []
    while (frame := wire.read_frame(stream.read)) is not None:
        frames.append(frame)
    return frames


@given(st.lists(st.tuples(st.sampled_from(FrameType), st.binary(max_size=300))))
def test_what_is_written_is_read(frames: list[tuple[FrameType, bytes]]) -> None:
    wanted = [Frame(*frame) for frame in frames]
    assert read_all(b"".join(frame.encode() for frame in wanted)) == wanted


@given(st.integers(0, 2**32 - 1), st.lists(TEXT_WITHOUT_NUL))
def test_a_hello_survives_with_any_bytes(flags: int, arguments: list[bytes]) -> None:
    texts = tuple(argument.decode("utf-8", "surrogateescape") for argument in arguments)
    assert Hello.decode(Hello(Phase.AUTHENTICATE, flags, texts).encode()) == Hello(
        Phase.AUTHENTICATE, flags, texts
    )


@given(st.dictionaries(st.sampled_from(sorted(wire.KNOWN_ITEMS)), TEXT_WITHOUT_NUL))
def test_items_survive_with_any_bytes(items: dict[str, bytes]) -> None:
    read = wire.decode_items(encode_items(items))
    assert {name: value.encode("utf-8", "surrogateescape") for name, value in read.items()} == items


@pytest.mark.parametrize(
    "data",
    [
        b"H\0\0\0\x05\x01\x01\0\0",
        b"H\0\0",
        b"X\0\0\0\0",
        b"h\0\0\0\0",
        b"A\0\x01\0\x01" + b"a" * 65537,
        b"A\xff\xff\xff\xff",
    ],
)
def test_a_cut_off_unknown_or_too_long_frame_is_an_error(data: bytes) -> None:
    with pytest.raises(FrameError):
        read_all(data)


@pytest.mark.parametrize(
    "payload",
    [b"", b"\x01", b"\x02\x01\0\0\0\0", b"\x00\x01\0\0\0\0", b"\x01\x05\0\0\0\0", b"\x01\x01\0\0\0\0debug"],
)
def test_a_hello_of_another_version_phase_or_shape_is_an_error(payload: bytes) -> None:
    with pytest.raises(FrameError):
        Hello.decode(Frame(FrameType.HELLO, payload))


@pytest.mark.parametrize(
    "payload", [b"user=a", b"user\0", b"=x\0", b"user=a\0user=b\0", b"new=a\0new=b\0", b"new\0"]
)
def test_an_item_that_is_double_or_without_name_or_value_is_an_error(payload: bytes) -> None:
    with pytest.raises(FrameError):
        wire.decode_items(Frame(FrameType.ITEMS, payload))


def test_an_item_of_a_newer_door_is_left_out() -> None:
    frame = Frame(FrameType.ITEMS, b"user=alice\0new=x\0uid=0\0")
    assert wire.decode_items(frame) == {"user": "alice", "uid": "0"}


def test_an_empty_item_is_distinguished_from_one_that_is_not_set() -> None:
    assert wire.decode_items(Frame(FrameType.ITEMS, b"ssh_auth_info=\0")) == {"ssh_auth_info": ""}
    assert wire.decode_items(Frame(FrameType.ITEMS, b"")) == {}


def test_answers() -> None:
    assert wire.decode_answer(Frame(FrameType.ANSWER, b"")) == ""
    assert wire.decode_answer(Frame(FrameType.ANSWER, b"x")) == "x"
    assert wire.decode_answer(Frame(FrameType.NO_ANSWER)) is None
    for frame in (
        Frame(FrameType.NO_ANSWER, b"x"),
        Frame(FrameType.ANSWER, b"a\0b"),
        Frame(FrameType.RESULT, b"\0\0\0\0"),
    ):
        with pytest.raises(FrameError):
            wire.decode_answer(frame)


def test_the_frames_on_the_wire_are_those_of_the_written_protocol() -> None:
    assert wire.result(11).encode() == b"R\0\0\0\x04\0\0\0\x0b"
    assert wire.deadline(60).encode() == b"D\0\0\0\x04\0\0\xea\x60"
    assert wire.deadline(1e9).payload == (300_000).to_bytes(4, "big")
    assert wire.ask("Enter: ", echo=True).encode() == b"Q\0\0\0\x08\x01Enter: "
    assert wire.say("a\0b").encode() == b"S\0\0\0\x02ab"
    assert wire.say("no", error=True).encode() == b"E\0\0\0\x02no"
    assert (
        Hello(Phase.AUTHENTICATE, 0x8000, ("debug",)).encode().encode()
        == b"H\0\0\0\x0c\x01\x01\0\0\x80\0debug\0"
    )


def test_a_frame_that_would_be_too_long_is_not_written() -> None:
    with pytest.raises(FrameError):
        Frame(FrameType.SAY, b"x" * 65537).encode()
