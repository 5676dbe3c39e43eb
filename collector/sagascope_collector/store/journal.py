"""A file to which frames are appended, each whole or not at all, and on disk when `append` returns.

A frame is a checksum, a length and a body. A crash can tear the last frame only: it was never acknowledged, and is cut
off when the file is opened again. A frame that is damaged while others follow it is a damaged disk, and is said.
"""

import errno
import os
import struct
import weakref
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Final, NamedTuple

from sagascope_collector.errors import NotADatabase, StoreUnavailable

MAGIC: Final = b"sagascope journal 1\n"
_FRAME: Final = struct.Struct("<4sIQ")
_MARK: Final = b"\xf5fr\n"


class Place(NamedTuple):
    """Where the body of a frame is."""

    offset: int
    length: int


class Journal:
    """One file of frames. Appending is for one thread; reading for any, also after `close`."""

    def __init__(self, path: Path, owner: str, *, durable: bool = True) -> None:
        """Open the file or make it.

        Args:
            path: where it is.
            owner: the database that it belongs to.
            durable: whether `append` waits for the disk.

        Raises:
            NotADatabase: it belongs to another database, or is damaged; nothing was changed.
        """
        self.path = path
        self._durable = durable
        self._head = MAGIC + owner.encode() + b"\n"
        self._file = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
        self.close = weakref.finalize(self, os.close, self._file)
        """Give up the file; done when nobody reads it any more, at the latest."""
        self._failed = False
        try:
            self._size = self._begin() if not os.fstat(self._file).st_size else self._sound_size()
        except BaseException:
            self.close()
            raise

    @property
    def size(self) -> int:
        """Bytes."""
        return self._size

    def append(self, body: bytes) -> Place:
        """Add a frame.

        Raises:
            StoreUnavailable: the disk does not take it; it was not added.
        """
        framed = _FRAME.pack(_MARK, zlib.crc32(body), len(body)) + body
        try:
            self._look()
            if self._failed:
                self._cut()
            self._write(framed)
        except OSError as error:
            self._failed = True
            raise StoreUnavailable(f"The disk does not take what was received: {error.strerror}.") from error
        place = Place(self._size + _FRAME.size, len(body))
        self._size += len(framed)
        return place

    def read(self, place: Place) -> bytes:
        """The body of a frame."""
        return os.pread(self._file, place.length, place.offset)

    def places(self) -> Iterator[Place]:
        """Every frame, in the order in which they were appended."""
        offset = len(self._head)
        while offset < self._size:
            *_, length = _FRAME.unpack(os.pread(self._file, _FRAME.size, offset))
            yield Place(offset + _FRAME.size, length)
            offset += _FRAME.size + length

    def _begin(self) -> int:
        os.write(self._file, self._head)
        if self._durable:
            os.fsync(self._file)
            sync_folder(self.path.parent)
        return len(self._head)

    def _look(self) -> None:
        """Refuse to write to a file that was removed: it would take everything, and keep nothing."""
        if not os.fstat(self._file).st_nlink:
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT))

    def _write(self, framed: bytes) -> None:
        """Write the whole frame behind the others, and wait for the disk."""
        view, offset = memoryview(framed), self._size
        while view:
            written = os.pwrite(self._file, view, offset)
            view, offset = view[written:], offset + written
        if self._durable:
            os.fdatasync(self._file)

    def _cut(self) -> None:
        """Take away what a failed write may have left."""
        os.ftruncate(self._file, self._size)
        if self._durable:
            os.fsync(self._file)
        self._failed = False

    def _sound_size(self) -> int:
        """Where the sound frames end; a torn last one is cut off."""
        total = os.fstat(self._file).st_size
        head = os.pread(self._file, len(self._head), 0)
        if self._head.startswith(head) and total < len(self._head):
            os.ftruncate(self._file, 0)
            return self._begin()
        if head != self._head:
            raise NotADatabase(f"{self.path} is damaged, or belongs to another database. It was left as it is.")
        sound = self._walk(total)
        if sound < total:
            if self._follows(sound, total):
                raise NotADatabase(f"{self.path} is damaged at byte {sound:,} and was left as it is.")
            os.ftruncate(self._file, sound)
        return sound

    def _walk(self, total: int) -> int:
        offset = len(self._head)
        while offset + _FRAME.size <= total:
            mark, checksum, length = _FRAME.unpack(os.pread(self._file, _FRAME.size, offset))
            end = offset + _FRAME.size + length
            if mark != _MARK or not length or end > total:  # a tear may leave a mark, and zeros after it
                break
            if zlib.crc32(os.pread(self._file, length, offset + _FRAME.size)) != checksum:
                break
            offset = end
        return offset

    def _follows(self, sound: int, total: int) -> bool:
        """Whether a whole frame stands behind the first that is not sound."""
        rest, at = os.pread(self._file, total - sound, sound), 0
        while (at := rest.find(_MARK, at + 1)) >= 0:
            if at + _FRAME.size > len(rest):
                return False
            _, checksum, length = _FRAME.unpack_from(rest, at)
            body = rest[at + _FRAME.size : at + _FRAME.size + length]
            if length and len(body) == length and zlib.crc32(body) == checksum:
                return True
        return False


def sync_folder(folder: Path) -> None:
    """Wait until the names of new files in a folder are on disk."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
