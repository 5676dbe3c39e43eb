"""Where one run of the demo keeps its logs and databases."""

import fcntl
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from sagascope_samples.demo.addresses import CannotStart

USUAL: Final = Path(".demo")

LEFT_BEHIND: Final = ("*.log", "*.sqlite*", "sagascope.duckdb*", "nats", "temporal.db*")
"""What a run leaves, and the next one in that folder begins by removing."""


@contextmanager
def kept_folder(folder: Path) -> Iterator[Path]:
    """A folder that stays, cleared of an earlier run, and in use by one run at a time.

    Raises:
        CannotStart: another run has it now.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise CannotStart(f"Another demo runs in {folder}; --folder FOLDER gives this one its own.") from error
        _clear(folder)
        yield folder.resolve()


@contextmanager
def passing_folder() -> Iterator[Path]:
    """A folder that goes with the run, and stays if the run fails, for whoever asks why."""
    folder = Path(tempfile.mkdtemp(prefix="sagascope-demo-"))
    failed = False
    try:
        yield folder
    except Exception:
        failed = True
        raise
    finally:
        if not failed:
            shutil.rmtree(folder, ignore_errors=True)


def _clear(folder: Path) -> None:
    for left in (path for pattern in LEFT_BEHIND for path in folder.glob(pattern)):
        if left.is_dir():
            shutil.rmtree(left)
        else:
            left.unlink()
