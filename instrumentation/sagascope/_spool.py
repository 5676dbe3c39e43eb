"""What the collector does not take waits on disk, bounded, and outlives the process."""

import re
import time
from collections.abc import Callable
from itertools import count
from pathlib import Path

from sagascope._guard import Guard

_SPOOLING = Guard("using the spool")

ABANDONED_AFTER = 60.0
"""Seconds without a change after which another process may send what a process has left."""

SUFFIX = ".otlp"
NAME = re.compile(r"\d{20}-\d+-(?P<records>\d+)-(?P<lane>traces|logs)-(?P<owner>[0-9a-f]{32})\.otlp")
"""When it was kept, a number, how many records are in it, of which signal, and whose it is."""


class Spool:
    """Requests in files, one each, oldest first; the lane of a request is a part of its file's name.

    A folder may be shared by processes. Nothing here raises: a full or missing disk is a `False`.
    """

    def __init__(self, folder: str, size: int, owner: str) -> None:
        self._folder = Path(folder)
        self._size = size
        self._owner = owner
        self._number = count()

    def keep(self, lane: str, records: int, body: bytes) -> bool:
        """Put a request on disk; False when there is no room, or the disk does not take it."""
        with _SPOOLING:
            try:
                return self._write(lane, records, body)
            except OSError:
                return False
        return False

    def send(self, post: Callable[[str, int, bytes], bool]) -> bool:
        """Send what is there, oldest first, while `post` (lane, records, body) takes it; True: nothing is left."""
        with _SPOOLING:
            for file in self._claimable():
                claimed = self._claim(file)
                if claimed is not None and not self._send_one(claimed, post):
                    return False
        return True

    def is_empty(self) -> bool:
        """Whether nothing is there that this process may send."""
        return not self._claimable()

    def _write(self, lane: str, records: int, body: bytes) -> bool:
        self._folder.mkdir(parents=True, exist_ok=True)
        used = sum(file.stat().st_size for file in self._files())
        if used + len(body) > self._size:
            return False
        name = f"{time.time_ns():020}-{next(self._number)}-{records}-{lane}-{self._owner}"
        partial = self._folder / f"{name}.part"
        try:
            partial.write_bytes(body)
            partial.rename(self._folder / (name + SUFFIX))
        except OSError:
            partial.unlink(missing_ok=True)
            raise
        return True

    def _files(self) -> list[Path]:
        try:
            return sorted(file for file in self._folder.iterdir() if NAME.fullmatch(file.name))
        except OSError:
            return []

    def _claimable(self) -> list[Path]:
        """Our own files, and those that nobody has touched for long: their process is gone."""
        before = time.time() - ABANDONED_AFTER
        return [file for file in self._files() if self._owner in file.name or _changed(file) < before]

    def _claim(self, file: Path) -> Path | None:
        """Make a file ours; None: another process was quicker."""
        if self._owner in file.name:
            return file
        ours = file.with_name(file.name.removesuffix(SUFFIX).rpartition("-")[0] + f"-{self._owner}{SUFFIX}")
        try:
            file.rename(ours)
            ours.touch()
        except OSError:
            return None
        return ours

    def _send_one(self, file: Path, post: Callable[[str, int, bytes], bool]) -> bool:
        said = NAME.fullmatch(file.name)
        try:
            body = file.read_bytes()
        except OSError:
            return True
        if said is None or not post(said["lane"], int(said["records"]), body):
            return False
        file.unlink(missing_ok=True)
        return True


def _changed(file: Path) -> float:
    try:
        return file.stat().st_mtime
    except OSError:
        return time.time()
