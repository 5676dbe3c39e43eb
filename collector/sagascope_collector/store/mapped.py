"""Arrays in files that are read as they are needed, through the page cache."""

from pathlib import Path

import numpy as np
import pyarrow as pa

from sagascope_collector.store.fingerprints import NONE, Fingerprints


def save(path: Path, content: Fingerprints) -> None:
    """Write an array."""
    np.save(path, content)


def load(path: Path) -> Fingerprints:
    """What `save` wrote. No file is held open for it, as `numpy.memmap` would.

    Raises:
        OSError, ValueError: it is missing, or something else.
    """
    with path.open("rb") as file:
        np.lib.format.read_magic(file)
        np.lib.format.read_array_header_1_0(file)
        begin = file.tell()
    with pa.memory_map(str(path)) as mapped:
        content = mapped.read_buffer()
    return np.frombuffer(content, np.uint64, offset=begin) if content.size > begin else NONE
