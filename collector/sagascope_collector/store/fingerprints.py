"""64-bit fingerprints of ids, a column at a time: what indexes and deduplication compare instead of the ids.

They are written to disk, so they never change. Of a hundred million records two share one by chance once in 4,000
databases; whatever is looked up by fingerprint is compared in full before it is answered.
"""

from hashlib import blake2b
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa

Fingerprints = npt.NDArray[np.uint64]
"""0 stands for an id that is absent."""

NONE: Final[Fingerprints] = np.empty(0, np.uint64)

_FIRST, _SECOND = np.uint64(0xBF58476D1CE4E5B9), np.uint64(0x94D049BB133111EB)
_FINAL, _OPEN, _LOG = np.uint64(0x9E3779B97F4A7C15), np.uint64(0xD1B54A32D192ED03), np.uint64(0x8CB92BA72F3D8DD7)
_30, _27, _31 = np.uint64(30), np.uint64(27), np.uint64(31)


def of_text(text: str) -> int:
    """The fingerprint of one saga id."""
    return (int.from_bytes(blake2b(text.encode(), digest_size=8).digest(), "little") or 1) if text else 0


def of_texts(column: pa.ChunkedArray) -> Fingerprints:
    """The fingerprints of saga ids; each distinct one is digested once."""
    encoded = _array(column).dictionary_encode()
    known = np.fromiter(map(of_text, encoded.dictionary.to_pylist()), np.uint64, len(encoded.dictionary))
    return known[encoded.indices.to_numpy(zero_copy_only=False)] if len(encoded) else NONE


def of_trace(trace_id: bytes) -> int:
    """The fingerprint of one trace id."""
    return int(of_traces(pa.chunked_array([pa.array([trace_id], pa.binary())]))[0])


def of_traces(column: pa.ChunkedArray) -> Fingerprints:
    """The fingerprints of trace ids."""
    words = _words(column, 16)
    return np.where(words.any(axis=1), mixed(words[:, 0] ^ mixed(words[:, 1])) | np.uint64(1), np.uint64(0))


def of_spans(traces: Fingerprints, span_ids: pa.ChunkedArray, ends: pa.ChunkedArray) -> Fingerprints:
    """The fingerprints of spans, an open form told from the final one; `traces` are those of their traces."""
    final = _array(ends).to_numpy(zero_copy_only=False) != 0
    return mixed(traces + mixed(_words(span_ids, 8)[:, 0]) + np.where(final, _FINAL, _OPEN))


def words(span_ids: pa.ChunkedArray) -> Fingerprints:
    """Span ids as numbers; 0 where there is none."""
    return _words(span_ids, 8)[:, 0]


def of_logs(keys: pa.ChunkedArray) -> Fingerprints:
    """The fingerprints of log records, by their digests."""
    words = _words(keys, 16)
    return mixed(words[:, 0] ^ mixed(words[:, 1] + _LOG))


def among(few: Fingerprints, many: Fingerprints) -> npt.NDArray[np.bool_]:
    """Which of `few` are in `many`, which is sorted."""
    if not many.size:
        return np.zeros(few.size, np.bool_)
    places = np.searchsorted(many, few)
    places[places == many.size] = 0
    return np.asarray(many[places] == few)


def distinct(many: Fingerprints) -> Fingerprints:
    """Each of them once, sorted; NumPy's own `unique` hashes first, and takes eight times as long."""
    ordered = np.sort(many)
    first = np.ones(ordered.size, np.bool_)
    np.not_equal(ordered[1:], ordered[:-1], out=first[1:])
    return ordered[first]


def meet(few: Fingerprints, many: Fingerprints) -> bool:
    """Whether any of `few` is in `many`, which is sorted."""
    if few.size != 1:
        return bool(among(few, many).any())
    place = many.searchsorted(few[0])
    return bool(place < many.size and many[place] == few[0])


def mixed(words: Fingerprints) -> Fingerprints:
    """Every bit of the answer depends on every bit given (the finish of SplitMix64)."""
    with np.errstate(over="ignore"):
        words = (words ^ (words >> _30)) * _FIRST
        words = (words ^ (words >> _27)) * _SECOND
    return words ^ (words >> _31)


def _words(column: pa.ChunkedArray, size: int) -> npt.NDArray[np.uint64]:
    """Ids of `size` bytes as rows of whole numbers; zeros where there is none."""
    array = _array(column).cast(pa.binary())
    if not len(array):
        return np.empty((0, size // 8), np.uint64)
    offsets = np.frombuffer(array.buffers()[1], np.int32)[array.offset : array.offset + len(array) + 1]
    content = np.frombuffer(array.buffers()[2] or b"", np.uint8)
    fits = np.diff(offsets) == size
    if fits.all():
        return content[offsets[0] : offsets[-1]].reshape(-1, size).copy().view("<u8")
    words = np.zeros((len(array), size), np.uint8)
    words[fits] = content[offsets[:-1][fits][:, None] + np.arange(size)]
    return words.view("<u8")


def _array(column: pa.ChunkedArray | pa.Array) -> Any:
    combined = column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column
    return pa.concat_arrays(combined.chunks) if isinstance(combined, pa.ChunkedArray) else combined
