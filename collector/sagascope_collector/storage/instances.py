"""The registry of instances: every process that was ever seen, in memory.

The table has them as of `state.seq`; what was observed since is in the rows of the commits.
"""

import threading
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Final

import orjson
import pyarrow as pa

from sagascope_collector.records import Following, Instance, Listing, Process
from sagascope_collector.storage.database import Database
from sagascope_collector.storage.observations import (
    Beat,
    Identity,
    KnownInstance,
    Observation,
    identity_of,
    merge,
)
from sagascope_collector.storage.statements import load

SQL: Final = load("instances")

Service = tuple[str, str]
"""(environment, service)."""

SCHEMA: Final = pa.schema(
    [
        ("environment", pa.string()),
        ("service", pa.string()),
        ("identity", pa.string()),
        ("version", pa.string()),
        ("instance", pa.string()),
        ("first_seen", pa.uint64()),
        ("last_seen", pa.uint64()),
        ("beat_at", pa.uint64()),
        ("beat_interval", pa.float64()),
        ("beat_sequence", pa.int64()),
        ("beat_open_spans", pa.string()),
        ("beat_parts", pa.int32()),
        ("beat_dropped", pa.int64()),
        ("beat_final", pa.bool_()),
        ("parts_seen", pa.string()),
        ("past", pa.string()),
        ("beat_following", pa.string()),
    ]
)


class Instances:
    """The instances by their services. Safe from any thread."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._lock = threading.Lock()
        self._of_service: defaultdict[Service, dict[Identity, KnownInstance]] = defaultdict(dict)
        self._unwritten: set[Identity] = set()
        for row in database.rows(SQL["select_instances"]):
            self._put(_read(row))

    def observe(self, observations: Sequence[Observation]) -> None:
        """Merges what a commit says of processes."""
        with self._lock:
            seen = {identity_of(each.process) for each in observations}
            known = [found for each in seen if (found := self._of_service[each[:2]].get(each))]
            for instance in merge(known, observations):
                self._put(instance)
            self._unwritten |= seen

    def all(self) -> Sequence[Instance]:
        """Returns all of them, the one last seen first."""
        with self._lock:
            every = [each for of in self._of_service.values() for each in of.values()]
        ordered = sorted(every, key=lambda each: (-each.last_seen, identity_of(each.process)))
        return [each.instance() for each in ordered]

    def of_services(self, services: Iterable[Service]) -> tuple[Instance, ...]:
        """Returns those of some services."""
        with self._lock:
            found = [
                each
                for service in services
                if service in self._of_service
                for each in self._of_service[service].values()
            ]
        return tuple(each.instance() for each in found)

    @contextmanager
    def writing(self) -> Iterator[list[Identity]]:
        """Returns those that changed, to be written in a transaction within the block; if it fails, they are later."""
        with self._lock:
            changed, self._unwritten = self._unwritten, set()
        try:
            yield sorted(changed)
        except BaseException:
            with self._lock:
                self._unwritten |= changed
            raise

    def write(self, identities: Sequence[Identity]) -> None:
        """Within a transaction: writes what is known of these."""
        with self._lock:
            rows = [_written(self._of_service[each[:2]][each]) for each in identities]
        if rows:
            self._database.rows(SQL["put_instances"], batch_instances=pa.Table.from_pylist(rows, schema=SCHEMA))

    def _put(self, instance: KnownInstance) -> None:
        identity = identity_of(instance.process)
        self._of_service[identity[:2]][identity] = instance


def dump(observations: Iterable[Observation]) -> str:
    """Returns the text in which a commit keeps observations."""
    return orjson.dumps([_dumped(each) for each in observations]).decode()


def load_observations(text: str) -> list[Observation]:
    """Reads what `dump` wrote."""
    return [
        Observation(Process(*process), first_seen, last_seen, tuple(map(_beat_of, beats)))
        for process, first_seen, last_seen, beats in orjson.loads(text)
    ]


def _dumped(observation: Observation) -> list[Any]:
    process = observation.process
    return [
        [process.environment, process.service, process.version, process.identity, process.instance],
        observation.first_seen,
        observation.last_seen,
        [_beat_dumped(each) for each in observation.beats],
    ]


def _beat_dumped(beat: Beat) -> dict[str, Any]:
    fields = {name: getattr(beat, name) for name in Beat.__slots__}
    return fields | {"open_spans": sorted(beat.open_spans)}


def _beat_of(fields: dict[str, Any]) -> Beat:
    following = fields.pop("following")
    open_spans = frozenset(fields.pop("open_spans"))
    return Beat(**fields, open_spans=open_spans, following=Following(**following) if following else None)


def _read(columns: Sequence[Any]) -> KnownInstance:
    row = dict(zip(SCHEMA.names, columns, strict=True))
    process = Process(row["environment"], row["service"], row["version"], row["identity"], row["instance"])
    parts_seen = frozenset(orjson.loads(row["parts_seen"]))
    past = tuple(Listing(at, frozenset(spans)) for at, spans in orjson.loads(row["past"]))
    return KnownInstance(process, row["first_seen"], row["last_seen"], _beat(row), parts_seen, past)


def _beat(row: dict[str, Any]) -> Beat | None:
    if row["beat_at"] is None:
        return None
    return Beat(
        at=row["beat_at"],
        interval=row["beat_interval"],
        sequence=row["beat_sequence"],
        open_spans=frozenset(orjson.loads(row["beat_open_spans"])),
        parts=row["beat_parts"],
        dropped=row["beat_dropped"],
        final=row["beat_final"],
        following=Following(**orjson.loads(row["beat_following"])) if row["beat_following"] else None,
    )


def _written(instance: KnownInstance) -> dict[str, Any]:
    process, beat = instance.process, instance.beat
    return {
        "environment": process.environment,
        "service": process.service,
        "identity": process.identity,
        "version": process.version,
        "instance": process.instance,
        "first_seen": instance.first_seen,
        "last_seen": instance.last_seen,
        "parts_seen": orjson.dumps(sorted(instance.parts_seen)).decode(),
        "past": orjson.dumps([(each.at, sorted(each.open_spans)) for each in instance.past]).decode(),
        **(_beat_written(beat) if beat else {}),
    }


def _beat_written(beat: Beat) -> dict[str, Any]:
    return {
        "beat_at": beat.at,
        "beat_interval": beat.interval,
        "beat_sequence": beat.sequence,
        "beat_open_spans": orjson.dumps(sorted(beat.open_spans)).decode(),
        "beat_parts": beat.parts,
        "beat_dropped": beat.dropped,
        "beat_final": beat.final,
        "beat_following": orjson.dumps(beat.following).decode() if beat.following else None,
    }
