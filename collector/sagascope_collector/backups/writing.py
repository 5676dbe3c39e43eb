"""Writes backups, a piece at a time."""

import hashlib
import os
import tarfile
import time
from collections.abc import Iterable, Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Final

from sagascope_collector.backups.reading import MANIFEST, Contents, Member, verify
from sagascope_collector.errors import BadValue
from sagascope_collector.store import Part

PIECE: Final = 1024 * 1024
BLOCK: Final = tarfile.BLOCKSIZE


def archive(parts: Iterable[Part]) -> Iterator[bytes]:
    """The bytes of a backup.

    Raises:
        OSError: a part cannot be read.
    """
    listed = []
    for part in parts:
        digest = hashlib.sha256()
        yield _head(part.name, part.size)
        for piece in _pieces(part):
            digest.update(piece)
            yield piece
        yield bytes(-part.size % BLOCK)
        listed.append(Member(name=part.name, size=part.size, sha256=digest.hexdigest()))
    contents = Contents(sagascope=version("sagascope"), made_at=int(time.time()), files=listed)
    manifest = contents.model_dump_json().encode()
    yield _head(MANIFEST, len(manifest)) + manifest + bytes(-len(manifest) % BLOCK) + bytes(2 * BLOCK)


def save(pieces: Iterable[bytes], path: Path) -> Contents:
    """Write a backup to a file, and read it again; what was there stays until then.

    Raises:
        BadValue: it cannot be written, or was not written as it should have been.
    """
    path = path.resolve()
    if path.exists() and not path.is_file():
        raise BadValue(f"{path} is no file, and was left as it is. Name another one.")
    new = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with new.open("xb") as file:
            for piece in pieces:
                file.write(piece)
            file.flush()
            os.fsync(file.fileno())
        manifest = verify(new)
        new.replace(path)
        return manifest
    except OSError as error:
        raise BadValue(f"{path} cannot be written: {error.strerror}.") from error
    finally:
        new.unlink(missing_ok=True)


def _head(name: str, size: int) -> bytes:
    info = tarfile.TarInfo(name)
    info.size, info.mode = size, 0o600
    return info.tobuf(tarfile.PAX_FORMAT)


def _pieces(part: Part) -> Iterator[bytes]:
    left = part.size
    with part.path.open("rb") as file:
        while left and (piece := file.read(min(PIECE, left))):
            left -= len(piece)
            yield piece
    if left:
        raise OSError(0, f"{part.name} is shorter than it was")
