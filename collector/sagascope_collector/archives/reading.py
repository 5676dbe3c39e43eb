"""Reads the messages of a file, whatever way it was written in: never more of it at a time than one message.

The file exporter writes JSON, one request a line; or protobuf, each request behind its length in 4 bytes, big end
first. It compresses with zstd: older versions each message by itself, behind its length, newer ones the whole file.
People compress whole files with gzip too. What a file is, it says by its first bytes.
"""

import io
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import count
from typing import Final

import orjson
import pyarrow as pa

from sagascope_collector.archives import signals
from sagascope_collector.archives.inflating import Inflating
from sagascope_collector.archives.signals import Kind
from sagascope_collector.errors import Undecodable

GZIP: Final = b"\x1f\x8b"
ZSTD: Final = b"\x28\xb5\x2f\xfd"
BYTE_ORDER_MARK: Final = b"\xef\xbb\xbf"

SIZE: Final = 4
"""Bytes of the length before a message."""

MOST: Final = 64 * 1024 * 1024
"""Bytes of a message; the collector takes no larger ones unless it is told to."""


@dataclass(frozen=True, slots=True)
class Message:
    """One request."""

    number: int
    """From 1; of a file in lines, the line."""
    json: bool
    body: bytes
    counts: dict[Kind, int]
    """How many records of each kind it holds."""


@dataclass(frozen=True, slots=True)
class Fault:
    """What cannot be sent."""

    number: int
    reason: str
    cut_off: bool = False
    """The file ends here, before the message does: it may still be written to."""


_Body = tuple[int, bool, bytes]
"""Number, whether it is JSON, content."""


def messages(raw: io.BufferedReader, most: int = MOST) -> Iterator[Message | Fault]:
    """Everything in a file, in its order; after a fault it goes on where that is possible."""
    number = 0
    try:
        for each in _bodies(_decompressed(raw), most):
            number = each.number if isinstance(each, Fault) else each[0]
            if isinstance(each, Fault):
                yield each
            elif each[2]:
                yield _message(*each)
    except (EOFError, OSError, zlib.error) as error:
        cut_off = isinstance(error, EOFError) or "truncated" in str(error).lower()
        yield Fault(number + 1, f"It cannot be decompressed: {error}.", cut_off)


def _decompressed(raw: io.BufferedReader) -> io.BufferedReader:
    start = raw.peek(SIZE)
    if start.startswith(GZIP):
        return io.BufferedReader(Inflating(raw))
    if start.startswith(ZSTD):
        return io.BufferedReader(pa.CompressedInputStream(pa.PythonFile(raw, mode="r"), "zstd"))
    return raw


def _bodies(stream: io.BufferedReader, most: int) -> Iterator[_Body | Fault]:
    start = stream.peek(SIZE)[:SIZE]
    if start.startswith(BYTE_ORDER_MARK):
        stream.read(len(BYTE_ORDER_MARK))
        start = stream.peek(SIZE)[:SIZE]
    if start.lstrip()[:1] == b"{":
        return _lines(stream, most)
    return _framed(stream, most)


def _lines(stream: io.BufferedReader, most: int) -> Iterator[_Body | Fault]:
    for number, line in enumerate(iter(lambda: stream.readline(most + 1), b""), 1):
        ended = line.endswith(b"\n")
        if number == 1 and line.strip() == b"{":  # a request laid out for people
            rest = stream.read(most)
            yield (number, True, line + rest) if not stream.peek(1) else _too_large(number, most)
            return
        if not ended and len(line) > most:
            while not ended and (more := stream.readline(most)):
                ended = more.endswith(b"\n")
            yield _too_large(number, most)
        elif not ended and _is_cut_off(line):
            yield Fault(number, "The last line is cut off.", cut_off=True)
        else:
            yield number, True, line.strip()


def _framed(stream: io.BufferedReader, most: int) -> Iterator[_Body | Fault]:
    for number in count(1):
        length = stream.read(SIZE)
        size = int.from_bytes(length, "big")
        if not length:
            return
        if size > most:
            yield Fault(number, f"This is no OTLP, or a message of {size:,} bytes; {most:,} are allowed.")
            return
        body = stream.read(size)
        if len(length) < SIZE or len(body) < size:
            yield Fault(number, "The last message is cut off.", cut_off=True)
            return
        yield _unpacked(number, body, most) if body.startswith(ZSTD) else (number, body[:1] == b"{", body)


def _unpacked(number: int, body: bytes, most: int) -> _Body | Fault:
    """A message that is compressed by itself."""
    try:
        with pa.CompressedInputStream(pa.BufferReader(body), "zstd") as stream:
            found: bytes = stream.read(most + 1)
    except OSError as error:
        return Fault(number, f"It cannot be decompressed: {error}.")
    return _too_large(number, most) if len(found) > most else (number, found[:1] == b"{", found)


def _message(number: int, json: bool, body: bytes) -> Message | Fault:
    try:
        return Message(number, json, body, signals.in_json(body) if json else signals.in_protobuf(body))
    except Undecodable as error:
        return Fault(number, str(error))


def _too_large(number: int, most: int) -> Fault:
    return Fault(number, f"It holds more than {most:,} bytes.")


def _is_cut_off(line: bytes) -> bool:
    try:
        orjson.loads(line)
    except orjson.JSONDecodeError:
        return True
    return False
