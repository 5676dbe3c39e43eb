"""The ids of a file in alphabetical order, with their rows: what begins with a text stands together.

An Arrow file, read through the page cache: a search touches some twenty ids, however many there are.
"""

from bisect import bisect_left
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from sagascope_collector.store.postings import Places


class Alphabet:
    """The ids of one file. UTF-8 sorts as its code points do, so they are compared as bytes."""

    def __init__(self, path: Path) -> None:
        """Map what `save` wrote.

        Raises:
            OSError, ValueError: it is missing, or something else.
        """
        with pa.memory_map(str(path)) as mapped:
            table = pa.ipc.open_file(mapped).read_all()
        self._ids = table["id"].chunk(0) if len(table) else pa.array([], pa.binary())
        self._places = table["place"]

    def beginning(self, text: str) -> Places:
        """The rows whose id begins so, sorted."""
        begin = text.encode(errors="surrogatepass")
        first = bisect_left(self._ids, begin, key=lambda each: each.as_py())
        length = len(begin)
        last = bisect_left(self._ids, True, first, key=lambda each: each.as_py()[:length] > begin)
        return np.sort(self._places.slice(first, last - first).to_numpy()).astype(np.int64)


def save(path: Path, ids: pa.ChunkedArray) -> None:
    """Write the ids of a file, the number of each being its row."""
    spelled = pa.concat_arrays(ids.chunks).cast(pa.binary()) if ids.num_chunks else pa.array([], pa.binary())
    order = pc.sort_indices(spelled)
    table = pa.table({"id": spelled.take(order), "place": order.cast(pa.uint32())})
    with pa.OSFile(str(path), "wb") as file, pa.ipc.new_file(file, table.schema) as writer:
        writer.write_table(table.combine_chunks(), max_chunksize=len(table) or None)
