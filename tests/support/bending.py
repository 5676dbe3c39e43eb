"""Bytes that were sound once: pieces of a corpus cut, doubled, joined and overwritten."""

from collections.abc import Sequence
from typing import Final

from hypothesis import strategies as st

TOKENS: Final = [
    *(b"\0", b"\xff", b"\x80" * 10, b"\xff" * 9 + b"\x01", b"\xed\xa0\x80", b"\xf4\x90\x80\x80", b"\xc0\x80"),
    *(
        b"18446744073709551616",
        b"-1",
        b"1e999",
        b"NaN",
        b"null",
        b"true",
        b"{}",
        b"[]",
        b'""',
        b'"\\ud800"',
        b"\\u0000",
    ),
    *(b"[" * 200, b'{"a":' * 200, b"=", b",", b"&", b"%00", b"'", b"--", b"saga.id", b"saga.name", b"\n"),
    *(b"\x0a\x00", b"\x12\x00", b"\x2a\x02\x2a\x00", b"\x32\x00", b"A" * 5000),
]
"""What readers of protobuf, JSON, text and numbers stumble over."""


@st.composite
def bent(draw: st.DrawFn, corpus: Sequence[bytes]) -> bytes:
    """One of the corpus, bent at up to eight places; now and then any bytes."""
    body = bytearray(draw(st.sampled_from(corpus)))
    for _ in range(draw(st.integers(0, 8))):
        at = draw(st.integers(0, len(body)))
        size = draw(st.sampled_from([0, 0, 1, 1, 2, 4, 8, 30, len(body)]))
        body[at : at + size] = draw(_pieces(bytes(body), corpus))
    return bytes(body)


def _pieces(body: bytes, corpus: Sequence[bytes]) -> st.SearchStrategy[bytes]:
    """What is put into a place: a token, any bytes, a piece of the same or of another."""
    cuts = st.tuples(st.sampled_from([body, *corpus]), st.integers(0, 4000), st.integers(0, 60))
    return st.sampled_from(TOKENS) | st.binary(max_size=12) | cuts.map(lambda cut: cut[0][cut[1] : cut[1] + cut[2]])
