"""What is appended together, and what became of it."""

from dataclasses import dataclass
from typing import NamedTuple

import pyarrow as pa

from sagascope_collector.storage.instances import Observation


@dataclass(frozen=True, slots=True)
class Batch:
    """Decoded telemetry by columns, ready to be stored; the schemas are `schema.SPANS`, `.LOGS`, ...

    Rows may repeat, within the batch and what is stored: a record is stored once.
    """

    spans: pa.Table
    logs: pa.Table
    links: pa.Table
    """One row for each span link that names a saga."""
    origins: pa.Table
    """What `spans` and `logs` came under, by the number of the row."""
    observations: tuple[Observation, ...]
    """What the records say of the processes that sent them; one process may come several times."""


class Appended(NamedTuple):
    """What became of a batch, in records."""

    stored: int
    duplicate: int


class Counters(NamedTuple):
    """Records since the database was made."""

    received: int = 0
    stored: int = 0
    rejected: int = 0
    duplicate: int = 0
