"""Framing of chunks on the wire."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from caterva2 import errors, wire

frames = st.lists(st.tuples(st.integers(0, 2**40), st.binary(max_size=50)), max_size=8)


def body_of(chunks: list[tuple[int, bytes]]) -> bytes:
    pieces = [wire.encode_frame_header(index, len(data)) + data for index, data in chunks]
    return b"".join(pieces) + wire.encode_end(len(chunks))


@given(frames, st.integers(1, 40))
def test_frames_survive_any_cutting_into_pieces(chunks: list[tuple[int, bytes]], size: int) -> None:
    body = body_of(chunks)
    decoder = wire.FrameDecoder()
    found = [frame for i in range(0, len(body), size) for frame in decoder.feed(body[i : i + size])]
    decoder.close()
    assert [(frame.index, frame.data) for frame in found] == chunks


def test_a_body_that_was_cut_off_is_noticed() -> None:
    decoder = wire.FrameDecoder()
    list(decoder.feed(body_of([(0, b"abc"), (1, b"def")])[:-1]))
    with pytest.raises(errors.UpstreamInvalid):
        decoder.close()


def test_an_error_of_the_sender_arrives_as_the_same_class() -> None:
    decoder = wire.FrameDecoder()
    with pytest.raises(errors.VersionChanged, match="newer"):
        list(decoder.feed(wire.encode_error(errors.VersionChanged("there is a newer version"))))


@pytest.mark.parametrize("error", sorted(errors.BY_CODE.values(), key=lambda error: error.code))
def test_every_error_is_rebuilt_by_its_code(error: type[errors.Caterva2Error]) -> None:
    rebuilt = errors.from_body(error.status, errors.to_body(error("a sentence")))
    assert type(rebuilt) is error
    assert str(rebuilt) == "a sentence"
