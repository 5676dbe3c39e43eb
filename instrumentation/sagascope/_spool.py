"""Keeps requests on disk that the collector does not accept, bounded, also beyond the end of the process."""

import re
import time
from collections.abc import Callable
from itertools import count
from pathlib import Path

from sagascope._guard import Guard

_SPOOLING = Guard("using the spool")

ABANDONED_AFTER_SECONDS = 60.0
"""Age after which another process may send the files of a process that ended."""

SUFFIX = ".otlp"
FILE_NAME = re.compile(r"\d{20}-\d+-(?P<records>\d+)-(?P<signal>traces|logs)-(?P<owner>[0-9a-f]{32})\.otlp")
"""Time of writing, a sequence number, number of records, signal, and owner."""


class Spool:
    """Requests in files, one each, sent oldest first; the file's name holds the signal.

    Processes may share a folder. No method raises an error: on a full or missing disk `write` returns False.
    """

    def __init__(self, folder: str, size: int, owner: str) -> None:
        self._folder = Path(folder)
        self._size = size
        self._owner = owner
        self._sequence = count()

    def write(self, signal: str, records: int, body: bytes) -> bool:
        """Writes a request to disk; returns False if there is no space, or writing fails."""
        with _SPOOLING:
            try:
                return self._write(signal, records, body)
            except OSError:
                return False
        return False

    def send(self, post: Callable[[str, int, bytes], bool]) -> bool:
        """Passes requests to `post` (signal, records, body), oldest first, until it returns False.

        Returns:
            True if no request is left.
        """
        with _SPOOLING:
            for file in self._claimable():
                claimed = self._claim(file)
                if claimed is not None and not self._send_one(claimed, post):
                    return False
        return True

    def is_empty(self) -> bool:
        """Returns whether there is no request that this process may send."""
        return not self._claimable()

    def _write(self, signal: str, records: int, body: bytes) -> bool:
        self._folder.mkdir(parents=True, exist_ok=True)
        used = sum(file.stat().st_size for file in self._files())
        if used + len(body) > self._size:
            return False
        name = f"{time.time_ns():020}-{next(self._sequence)}-{records}-{signal}-{self._owner}"
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
            return sorted(file for file in self._folder.iterdir() if FILE_NAME.fullmatch(file.name))
        except OSError:
            return []

    def _claimable(self) -> list[Path]:
        """Returns our own files, and those of processes that ended."""
        before = time.time() - ABANDONED_AFTER_SECONDS
        return [file for file in self._files() if self._owner in file.name or _modified_at(file) < before]

    def _claim(self, file: Path) -> Path | None:
        """Makes a file ours; returns None if another process was faster."""
        if self._owner in file.name:
            return file
        claimed = file.with_name(file.name.removesuffix(SUFFIX).rpartition("-")[0] + f"-{self._owner}{SUFFIX}")
        try:
            file.rename(claimed)
            claimed.touch()
        except OSError:
            return None
        return claimed

    def _send_one(self, file: Path, post: Callable[[str, int, bytes], bool]) -> bool:
        name = FILE_NAME.fullmatch(file.name)
        try:
            body = file.read_bytes()
        except OSError:
            return True
        if name is None or not post(name["signal"], int(name["records"]), body):
            return False
        file.unlink(missing_ok=True)
        return True


def _modified_at(file: Path) -> float:
    try:
        return file.stat().st_mtime
    except OSError:
        return time.time()
