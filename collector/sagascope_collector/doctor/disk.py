"""Whether the database's folder can be written, and has room."""

import errno
import os
import shutil
import tempfile
from collections.abc import Iterator
from typing import Final

from sagascope_collector.doctor.patient import Patient
from sagascope_collector.doctor.result import Result, ok, problem, skipped, warning

CHECK: Final = "disk"

MEBIBYTE: Final = 1024 * 1024

LEAST: Final = 64 * MEBIBYTE
"""With less than this a busy collector is full within minutes."""

SCARCE: Final = 1024 * MEBIBYTE

SAMPLE: Final = b"\0" * MEBIBYTE
"""Written and taken away again."""


def look(patient: Patient) -> Iterator[Result]:
    """Write something beside the database, and see how much room is left."""
    folder = patient.db.absolute().parent
    if not folder.is_dir():
        yield problem(CHECK, f"The folder {folder} does not exist.", "Make it, or name another file with --db.")
        return
    try:
        with tempfile.TemporaryFile(dir=folder, prefix=".sagascope-doctor-") as file:
            file.write(SAMPLE)
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        yield problem(CHECK, f"{folder} cannot be written: {error.strerror}.", _advice(error))
        yield skipped("space", "See the line above.")
        return
    yield ok(CHECK, f"{folder} can be written.")
    yield _room(folder)


def _advice(error: OSError) -> str:
    if error.errno in {errno.ENOSPC, errno.EDQUOT}:
        return "Make room, or name a file elsewhere with --db."
    return "Change its permissions, or name a file elsewhere with --db."


def _room(folder: os.PathLike[str]) -> Result:
    free = shutil.disk_usage(folder).free
    text = f"{free // MEBIBYTE:,} MiB are free in {folder}."
    if free < LEAST:
        return problem("space", text, "Make room, or name a file elsewhere with --db.")
    return warning("space", text, "Make room soon.") if free < SCARCE else ok("space", text)
