"""Verifies backups, and puts them back."""

import hashlib
import os
import shutil
import tarfile
from collections.abc import Callable, Iterator
from pathlib import Path, PurePosixPath
from typing import IO, Final, Literal, Self

from pydantic import BaseModel, ValidationError

from sagascope_collector.errors import BadValue
from sagascope_collector.store import DATABASE, FACTS, sync_folder

MANIFEST: Final = "manifest.json"
MOST_MANIFEST: Final = 64 * 1024 * 1024
PIECE: Final = 1024 * 1024


class Member(BaseModel):
    """A file of a backup; `size` in bytes."""

    name: str
    size: int
    sha256: str


class Contents(BaseModel):
    """What a backup says it holds."""

    form: Literal[1] = 1
    sagascope: str
    """The version that wrote it."""
    made_at: int
    """Seconds since 1970."""
    files: list[Member]


Taken = Callable[[str, bytes], None]


def verify(path: Path) -> Contents:
    """Read all of a backup; what it says it holds.

    Raises:
        BadValue: it is none, is cut off or damaged, or a later version wrote it.
    """
    return _read(path, lambda _, __: None)


def restore(path: Path, database: Path) -> None:
    """Put a backup, or what was kept before a migration, back as a database that did not exist.

    Nothing is left of it if that fails.

    Raises:
        BadValue: there is something already, the backup cannot be used, or the disk does not take it.
    """
    facts = Path(f"{database}.d")
    for each in (database, facts, Path(f"{database}.wal")):
        if each.exists():
            raise BadValue(f"{each} is there already and was left as it is. Move it away, or name another with --db.")
    place = database.with_name(f".{database.name}.{os.getpid()}")
    try:
        (place / FACTS).mkdir(parents=True)
        _copied(path, place) if path.is_dir() else _unpacked(path, place)
        (place / FACTS).rename(facts)
        (place / DATABASE).rename(database)
        sync_folder(database.absolute().parent)
    except OSError as error:
        raise BadValue(f"{database} cannot be written: {error.strerror}.") from error
    finally:
        shutil.rmtree(place, ignore_errors=True)


def _copied(kept: Path, place: Path) -> None:
    """What was kept stays what it is, whatever becomes of the copy."""
    if not (kept / DATABASE).is_file() or not (kept / FACTS).is_dir():
        raise BadValue(f"{kept} is no backup: it is a folder of something else.")
    shutil.copyfile(kept / DATABASE, place / DATABASE)
    shutil.copytree(kept / FACTS, place / FACTS, dirs_exist_ok=True)


def _unpacked(path: Path, place: Path) -> Contents:
    with _Unpacking(place) as unpacking:
        return _read(path, unpacking.take)


class _Unpacking:
    """Writes the files of a backup, one after the other."""

    def __init__(self, place: Path) -> None:
        self._place = place
        self._name = ""
        self._file: IO[bytes] | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._finish()

    def take(self, name: str, piece: bytes) -> None:
        """Write a piece of a file."""
        if name != self._name or self._file is None:
            self._finish()
            self._name, self._file = name, (self._place / name).open("xb")
        self._file.write(piece)

    def _finish(self) -> None:
        if self._file is not None:
            self._file.flush()
            os.fsync(self._file.fileno())
            self._file.close()


def _read(path: Path, take: Taken) -> Contents:
    found, manifest = {}, None
    try:
        with path.open("rb") as raw, tarfile.open(fileobj=raw, mode="r|") as tar:
            for info in tar:
                file = tar.extractfile(info)
                if file is None or manifest is not None or not _is_ours(info.name):
                    raise BadValue(f"{path} is no backup of Sagascope: it holds {info.name!r}.")
                if info.name == MANIFEST:
                    manifest = _manifest(path, file.read(MOST_MANIFEST))
                else:
                    found[info.name] = (info.size, _digest(file, info.name, take))
    except tarfile.TarError as error:
        raise BadValue(f"{path} is no backup, or is damaged: {error}.") from error
    except OSError as error:
        raise BadValue(f"{path} cannot be read: {error.strerror or error}.") from error
    if manifest is None:
        raise BadValue(f"{path} is cut off: it has no list of what belongs to it.")
    _compare(path, manifest, found)
    return manifest


def _is_ours(name: str) -> bool:
    """Whether a member may be in a backup, and stays within its place when it is put back."""
    parts = PurePosixPath(name).parts
    if len(parts) == 1:
        return parts[0] in (DATABASE, MANIFEST)
    return len(parts) == 2 and parts[0] == FACTS and parts[1] != ".."


def _digest(file: IO[bytes], name: str, take: Taken) -> str:
    digest = hashlib.sha256()
    take(name, b"")
    while piece := file.read(PIECE):
        digest.update(piece)
        take(name, piece)
    return digest.hexdigest()


def _manifest(path: Path, text: bytes) -> Contents:
    try:
        return Contents.model_validate_json(text)
    except ValidationError as error:
        raise BadValue(
            f"{path} is damaged, or a later version of Sagascope wrote it: {MANIFEST} is not as expected."
        ) from error


def _compare(path: Path, contents: Contents, found: dict[str, tuple[int, str]]) -> None:
    for wrong in _differences(contents, found):
        raise BadValue(f"{path} is damaged: {wrong}.")


def _differences(contents: Contents, found: dict[str, tuple[int, str]]) -> Iterator[str]:
    listed = {each.name: (each.size, each.sha256) for each in contents.files}
    yield from (f"{name} is missing" for name in listed.keys() - found.keys())
    yield from (f"{name} does not belong to it" for name in found.keys() - listed.keys())
    yield from (f"{name} is not as it was written" for name, told in listed.items() if found[name] != told)
    if DATABASE not in listed:
        yield "it holds no database"
