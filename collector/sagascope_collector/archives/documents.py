"""Splits a stream of JSON into documents, of which each is an object or a list.

Documents stand on lines of their own, as the file exporter writes them, or share a line, or are laid out over many
lines; nothing needs to separate them. A broken document does not affect the others: reading continues at the next place
where a document can start. At most two documents of the largest size are held.
"""

import io
import re
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final

import orjson


class RecordKind(StrEnum):
    """The records that a request contains."""

    SPANS = "spans"
    LOG_RECORDS = "log records"
    METRICS = "metrics"


@dataclass(frozen=True, slots=True)
class Message:
    """One request of a file."""

    number: int
    """Counts from 1; in a file of JSON it is the line on which the request starts."""
    json: bool
    body: bytes
    counts: dict[RecordKind, int]
    """The number of records by kind."""


@dataclass(frozen=True, slots=True)
class Problem:
    """A part of a file that was not imported: it cannot be read, or the collector rejected it."""

    number: int
    """That of its `Message`."""
    reason: str
    truncated: bool = False
    """Whether the file ends before the request does, for example because it is still being written."""
    records: int | None = None
    """The number of records that were not imported; None: the whole request."""


JSON_FIELDS: Final = (
    (RecordKind.SPANS, "resourceSpans", "scopeSpans", "spans"),
    (RecordKind.LOG_RECORDS, "resourceLogs", "scopeLogs", "logRecords"),
    (RecordKind.METRICS, "resourceMetrics", "scopeMetrics", "metrics"),
)
"""The lists in which OTLP's JSON form nests the records of each kind."""


def counts_of_json(request: dict[str, Any]) -> dict[RecordKind, int]:
    """Returns the number of records by kind; ignores malformed parts, which the collector rejects."""
    return {kind: _count(request[outer], inner, leaf) for kind, outer, inner, leaf in JSON_FIELDS if outer in request}


def _count(resources: Any, inner: str, leaf: str) -> int:
    scopes = (scope for resource in objects(resources) for scope in objects(resource.get(inner)))
    return sum(len(records) for scope in scopes if isinstance(records := scope.get(leaf), list))


def objects(value: Any) -> Iterator[dict[str, Any]]:
    """Returns the objects of a list; none if it is not a list."""
    return (each for each in value if isinstance(each, dict)) if isinstance(value, list) else iter(())


CHUNK_BYTES: Final = 1024 * 1024

WINDOW_BYTES: Final = 64 * 1024
"""How much of a long line is parsed at first for a document that shares it."""

_SEPARATORS: Final = re.compile(rb"[\s,\x1e]*")
_STARTS: Final = re.compile(rb"(?<=\n)[{\[]|(?<=\}){")
"""Where a document can start after a broken one: a line, or a bracket that cannot follow another within JSON."""


@dataclass(frozen=True, slots=True)
class Document:
    """One document."""

    number: int
    """The line on which it starts, counted from 1."""
    body: bytes
    value: Any


def documents(stream: io.BufferedReader, max_bytes: int) -> Iterator[Document | Problem]:
    """Yields the documents of a stream in order, and what cannot be read.

    Raises:
        EOFError, OSError, zlib.error: the stream failed; what was read before it failed has been yielded.
    """
    reader = _Reader(stream, max_bytes)
    while reader.find_start():
        yield reader.next()


class _Incomplete(Exception):
    """The text ends before the document does."""


class _Malformed(Exception):
    """The text is not JSON."""

    def __init__(self, offset: int, reason: str) -> None:
        super().__init__(reason)
        self.offset = offset


class _Reader:
    def __init__(self, stream: io.BufferedReader, max_bytes: int) -> None:
        self._stream = stream
        self._max_bytes = max_bytes
        self._text = b""
        self._offset = 0
        """The position before which the text was processed."""
        self._line = 1
        self._last_size = 0
        self._failure: Exception | None = None

    def find_start(self) -> bool:
        """Goes to the next document; returns whether there is one."""
        while True:
            found = _SEPARATORS.match(self._text, self._offset)
            self._advance(found.end() if found else self._offset)
            if self._offset < len(self._text):
                return True
            if not self._read(CHUNK_BYTES):
                if self._failure is not None:
                    raise self._failure
                return False

    def next(self) -> Document | Problem:
        number, size = self._line, self._likely_size()
        while True:
            window = self._text[self._offset : self._offset + size]
            try:
                value, end = _first_document(window)
            except _Incomplete:
                if len(window) > self._max_bytes:
                    self._resume_after(self._offset + len(window))
                    return self._too_large(number)
                if self._offset + size < len(self._text) or self._read(max(CHUNK_BYTES, len(window))):
                    size = max(WINDOW_BYTES, 2 * len(window))
                    continue
                self._advance(len(self._text))
                return Problem(number, "The last request is truncated.", truncated=True)
            except _Malformed as error:
                self._resume_after(self._offset + error.offset)
                return Problem(number, f"This is not JSON: {error}.")
            self._advance(self._offset + end)
            self._last_size = end
            return self._too_large(number) if end > self._max_bytes else Document(number, window[:end].rstrip(), value)

    def _likely_size(self) -> int:
        """Returns the size of the line at its start, else a guess: parsing the whole rest would be quadratic."""
        if self._offset and self._text[self._offset - 1] != ord("\n"):
            return max(WINDOW_BYTES, 2 * self._last_size)
        newline = self._text.find(b"\n", self._offset)
        return (newline + 1 if newline >= 0 else len(self._text)) - self._offset

    def _too_large(self, number: int) -> Problem:
        return Problem(number, f"It has more than {self._max_bytes:,} bytes.")

    def _resume_after(self, offset: int) -> None:
        """Goes to where the next document can start, at the earliest on the line of an offset."""
        newline = self._text.rfind(b"\n", self._offset, offset)
        after = max(newline, self._offset + 1) if newline >= 0 else max(offset, self._offset + 1)
        while not (found := _STARTS.search(self._text, after)):
            self._advance(len(self._text) - 1)  # the last byte may be the newline before a start
            if not self._read(CHUNK_BYTES):
                self._advance(len(self._text))
                return
            after = 0
        self._advance(found.start())

    def _advance(self, offset: int) -> None:
        self._line += self._text.count(b"\n", self._offset, offset)
        self._offset = offset

    def _read(self, size: int) -> bool:
        """Drops the processed text, and appends at least one byte if the stream has any; returns whether it had."""
        parts = [self._text[self._offset :]]
        while size > 0 and self._failure is None:
            try:
                part = self._stream.read1(size)
            except (EOFError, OSError, zlib.error) as error:
                self._failure = error
                break
            if not part:
                break
            parts.append(part)
            size -= len(part)
        self._text, self._offset = b"".join(parts), 0
        return len(parts) > 1


def _first_document(text: bytes) -> tuple[Any, int]:
    """Returns the first document of a text, and where it ends.

    Raises:
        _Incomplete: the text is the beginning of a document.
        _Malformed: it is not.
    """
    if text[:1] not in {b"{", b"["}:
        raise _Malformed(0, "it starts with neither { nor [")
    try:
        return orjson.loads(text), len(text)
    except orjson.JSONDecodeError as error:
        problem = error
    if not problem.pos:  # the text is not UTF-8, perhaps behind the first document
        return _first_before_bad_text(text)
    end = len(problem.doc[: problem.pos].encode())
    if end == len(text):
        raise _Incomplete
    try:
        return orjson.loads(text[:end]), end
    except orjson.JSONDecodeError:
        raise _Malformed(end, problem.msg) from problem


def _first_before_bad_text(text: bytes) -> tuple[Any, int]:
    try:
        text.decode()
    except UnicodeDecodeError as error:
        try:
            return _first_document(text[: error.start])
        except _Incomplete:
            if error.end == len(text) and error.reason == "unexpected end of data":
                raise
            raise _Malformed(error.start, "it is not UTF-8") from error
    raise _Malformed(0, "it cannot be parsed")
