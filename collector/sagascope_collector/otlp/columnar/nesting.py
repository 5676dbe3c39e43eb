"""Unnests requests: their records in one array, and the scope and request of each."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa

from sagascope_collector.otlp.columnar.declined import Bools, Declined, Integers, decline


class ScopeFields(NamedTuple):
    """What the records of one scope share, as it was sent."""

    request: int
    resource: bytes
    resource_schema: str
    scope: bytes
    scope_schema: str


@dataclass(frozen=True, slots=True)
class NestedRecords:
    """The records of many requests."""

    records: pa.StructArray
    scope: Integers
    """Of each record the number of its scope, rising."""
    request: Integers
    """Of each record the number of its request, rising."""
    scopes: Sequence[ScopeFields]

    def only(self, wanted: Bools) -> "NestedRecords":
        """Without the records that are not wanted."""
        records = self.records.filter(pa.array(wanted))
        return replace(self, records=records, scope=self.scope[wanted], request=self.request[wanted])


def unnest(reader: Any, bodies: Sequence[bytes]) -> NestedRecords:
    """Reads requests with one of the readers of `protobuf_schema`.

    Raises:
        Declined: some are not what they should be.
    """
    resources = _read(reader, bodies).column(0)
    scopes = resources.values.field("scopes")
    records = scopes.values.field("records")
    of_resource = owners(resources)
    decline(sizes(scopes) == 0, of_resource)  # the columns lack what such a resource holds
    of_scope = of_resource[owners(scopes)]
    scope = owners(records)
    return NestedRecords(records.values, scope, of_scope[scope], _scopes(of_scope, owners(scopes), resources.values))


def owners(lists: pa.ListArray) -> Integers:
    """Returns for each element of the lists the number of its list."""
    return np.repeat(np.arange(len(lists)), sizes(lists))


def sizes(lists: pa.ListArray) -> Integers:
    """Returns the number of elements of each list."""
    found: Integers = np.diff(lists.offsets.to_numpy())
    return found


def _read(reader: Any, bodies: Sequence[bytes]) -> pa.RecordBatch:
    if (batch := _batch(reader, bodies)) is not None:
        return batch
    raise Declined(number for number, body in enumerate(bodies) if _batch(reader, [body]) is None)


def _batch(reader: Any, bodies: Sequence[bytes]) -> pa.RecordBatch | None:
    """One bad request fails all that it is read with."""
    try:
        return reader.list_to_record_batch(list(bodies))
    except BaseException as error:  # a panic of the Rust library is no Exception
        if isinstance(error, KeyboardInterrupt | SystemExit | MemoryError):
            raise
        return None


def _scopes(request: Integers, resource: Integers, resources: pa.StructArray) -> list[ScopeFields]:
    senders = [b"".join(each) for each in resources.field("resource").to_pylist()]
    schemas = resources.field("schema_url").to_pylist()
    scopes = resources.field("scopes").values
    return [
        ScopeFields(int(request[number]), senders[of], schemas[of], b"".join(scope), schema)
        for number, (of, scope, schema) in enumerate(
            zip(resource, scopes.field("scope").to_pylist(), scopes.field("schema_url").to_pylist(), strict=True)
        )
    ]
