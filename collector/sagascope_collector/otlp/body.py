"""Reads the body of a request as it streams in, decompressed and never more than a cap."""

import zlib
from collections.abc import AsyncIterator
from typing import Final

import pyarrow as pa

from sagascope_collector.errors import Overloaded, TooLarge, Undecodable

GZIP: Final = 16 + zlib.MAX_WBITS
"""Tells zlib to expect gzip's header."""

ENCODINGS: Final = frozenset({b"", b"identity", b"none", b"gzip", b"zstd"})
"""Values of Content-Encoding that are understood."""


class Budget:
    """Bytes that all requests together may hold while they arrive."""

    def __init__(self, capacity: int) -> None:
        self._left = capacity

    def take(self, amount: int) -> None:
        """Use some of it.

        Raises:
            Overloaded: so much is not left.
        """
        if amount > self._left:
            raise Overloaded("The collector is receiving as much at one time as it may hold.")
        self._left -= amount

    def give_back(self, amount: int) -> None:
        """It was used, and is free again."""
        self._left += amount


async def read(chunks: AsyncIterator[bytes], encoding: bytes, cap: int, budget: Budget) -> bytes:
    """The whole body.

    Raises:
        TooLarge: it holds more than `cap` bytes, compressed or not; no more than that was kept.
        Undecodable: it is not compressed as it claims to be.
        Overloaded: together with the others that are arriving it is more than `budget` allows.
    """
    reader, held = _READERS.get(encoding, _Plain)(cap), 0
    try:
        async for chunk in chunks:
            if chunk:
                grown = reader.feed(chunk)
                budget.take(grown)
                held += grown
        return reader.finish()
    finally:
        budget.give_back(held)


class _Plain:
    def __init__(self, cap: int) -> None:
        self._room = self._cap = cap
        self._parts: list[bytes] = []

    def feed(self, chunk: bytes) -> int:
        """Take a piece in; by how many bytes what is held has grown."""
        self._room -= len(chunk)
        if self._room < 0:
            raise too_large(self._cap)
        self._parts.append(chunk)
        return len(chunk)

    def finish(self) -> bytes:
        return b"".join(self._parts)


class _Gzip(_Plain):
    def __init__(self, cap: int) -> None:
        super().__init__(cap)
        self._inflate = zlib.decompressobj(GZIP)

    def feed(self, chunk: bytes) -> int:
        grown = 0
        while chunk:
            if self._inflate.eof:  # gzip files may follow one another
                self._inflate = zlib.decompressobj(GZIP)
            grown += super().feed(self._inflated(chunk))
            chunk = self._inflate.unconsumed_tail or self._inflate.unused_data
        return grown

    def finish(self) -> bytes:
        if not self._inflate.eof:
            raise Undecodable("The gzip data ends before it is complete.")
        return super().finish()

    def _inflated(self, chunk: bytes) -> bytes:
        try:
            return self._inflate.decompress(chunk, self._room + 1)
        except zlib.error as error:
            raise Undecodable(f"This is no gzip data: {error}.") from error


class _Zstd(_Plain):
    def finish(self) -> bytes:
        try:
            with pa.CompressedInputStream(pa.BufferReader(super().finish()), "zstd") as stream:
                inflated: bytes = stream.read(self._cap + 1)
        except OSError as error:
            raise Undecodable(f"This is no zstd data: {error}.") from error
        if len(inflated) > self._cap:
            raise too_large(self._cap)
        return inflated


_READERS: Final[dict[bytes, type[_Plain]]] = {b"gzip": _Gzip, b"zstd": _Zstd}


def too_large(cap: int) -> TooLarge:
    """What a sender is told whose request holds more than `cap` bytes."""
    return TooLarge(f"This request holds more than the {cap} bytes that it may, decompressed. Send smaller batches.")
