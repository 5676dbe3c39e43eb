"""Decompresses gzip as far as it goes: the standard library's reader loses what it has read when the end is missing."""

import io
import zlib
from typing import Any, Final

GZIP: Final = 16 + zlib.MAX_WBITS
PIECE: Final = 64 * 1024


class Inflating(io.RawIOBase):
    """What is in a gzip file, or in several one behind the other; raises `EOFError` where the end is missing."""

    def __init__(self, raw: io.BufferedReader) -> None:
        self._raw = raw
        self._inflate = zlib.decompressobj(GZIP)
        self._rest = b""

    def readable(self) -> bool:
        """It is."""
        return True

    def readinto(self, buffer: Any) -> int:
        """Fill a part of a buffer; 0: that was all."""
        while True:
            self._rest = self._rest or self._raw.read(PIECE)
            if self._inflate.eof and self._rest:
                self._inflate = zlib.decompressobj(GZIP)
            found = self._inflate.decompress(self._rest, len(buffer))
            ended = not self._rest
            self._rest = self._inflate.unused_data if self._inflate.eof else self._inflate.unconsumed_tail
            if found:
                buffer[: len(found)] = found
                return len(found)
            if ended:
                if not self._inflate.eof:
                    raise EOFError("the file ends before it is complete")
                return 0
