"""What the catalog of a lake keeps of an erasure, so that every collector can erase the same from its copy."""

import hashlib
from collections.abc import Callable, Sequence
from typing import NamedTuple

import orjson

from sagascope_collector.lake.catalog import SQL
from sagascope_collector.records import SagaId
from sagascope_collector.storage import Storage, schema, summaries

Secret = Callable[[str], str]
"""Returns a secret text that the key for pseudonyms and a salt determine."""


def digest(secret: str, *parts: str) -> str:
    """Returns the hash of an id of a saga (environment, id) or of a text."""
    return hashlib.sha256((secret + chr(31).join(parts)).encode("utf-8", "surrogatepass")).hexdigest()


class ErasureRecord(NamedTuple):
    """An erasure from the lake, as the catalog keeps it."""

    first_snapshot: int
    last_snapshot: int | None
    """What later snapshots append is new. None: it is under way, and no snapshot from the first on may be read."""
    salt: str
    digests: Sequence[str]

    def apply(self, storage: Storage, secret: Secret) -> tuple[list[SagaId], int]:
        """Erases what it names from a copy; returns the sagas, and the number of their records.

        Raises:
            StorageUnavailable: it is not erased; it is finished after the next start at the latest.
        """
        prefix = secret(self.salt)
        waiting = schema.table("environment id", storage.changes.all())
        digests = schema.table("digest", ((each,) for each in self.digests))
        found = storage.database.rows(SQL["select_erased"], {"secret": prefix}, waiting=waiting, digests=digests)
        ids = [SagaId(*row) for row in found]
        keys = storage.database.rows(SQL["select_keys"], gone=summaries.ids_table(ids)) if ids else []
        values = {value for (document,) in keys for value in orjson.loads(document).values()}
        texts = [each for each in values if digest(prefix, each) in self.digests]
        return ids, storage.erasure.erase(ids, texts)
