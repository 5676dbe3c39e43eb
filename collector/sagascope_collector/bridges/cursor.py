"""How far a bridge has come, in a file that is whole after every crash, and that one bridge has at a time."""

import fcntl
import os
from pathlib import Path
from typing import IO, Generic, TypeVar

from pydantic import BaseModel, ValidationError

from sagascope_collector.errors import BadValue, CursorTaken

Place = TypeVar("Place", bound=BaseModel)


class Cursor(Generic[Place]):
    """Keeps a `Place`. A context manager: within it, the file is its own.

    Args:
        path: the file; made when something is first kept.
        model: what is kept, and where to begin without a file: `model()`.
    """

    def __init__(self, path: Path, model: type[Place]) -> None:
        self.path = path
        self._model = model
        self._lock: IO[str] | None = None

    def __enter__(self) -> "Cursor[Place]":
        """Take the file.

        Raises:
            CursorTaken: another process has it.
            BadValue: it cannot be written.
        """
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self._lock = self.path.with_name(f"{self.path.name}.lock").open("w")
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise CursorTaken(f"Another bridge follows with {self.path}; name another file with --cursor.") from error
        except OSError as error:
            raise BadValue(f"{self.path} cannot be written: {error.strerror}.") from error
        return self

    def __exit__(self, *_: object) -> None:
        if self._lock:
            self._lock.close()

    def load(self) -> Place:
        """What was kept last.

        Raises:
            BadValue: the file holds something else.
        """
        try:
            return self._model.model_validate_json(self.path.read_bytes())
        except FileNotFoundError:
            return self._model()
        except OSError as error:
            raise BadValue(f"{self.path} cannot be read: {error.strerror}.") from error
        except ValidationError as error:
            said = f"{self.path} holds no place of this kind of bridge; move it away to begin anew."
            raise BadValue(said) from error

    def save(self, place: Place) -> None:
        """Keep this; it is on disk afterwards.

        Raises:
            BadValue: it cannot be written; what was kept stays.
        """
        new = self.path.with_name(f"{self.path.name}.new")
        try:
            with open(new, "wb", opener=_for_the_owner) as file:
                file.write(place.model_dump_json(exclude_defaults=True).encode())
                file.flush()
                os.fsync(file.fileno())
            new.replace(self.path)
        except OSError as error:
            raise BadValue(f"{self.path} cannot be written: {error.strerror}.") from error


def _for_the_owner(path: str, flags: int) -> int:
    """What is kept says what the followed system says."""
    return os.open(path, flags, mode=0o600)
