"""`standing.IncidentStore` on DuckDB."""

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import fields
from decimal import Decimal
from typing import Any, Final

import orjson
import pyarrow as pa

from sagascope_collector.records import SagaId, SagaKey
from sagascope_collector.store.contract import SagaRow
from sagascope_collector.store.database import Database
from sagascope_collector.store.sql import Query
from sagascope_collector.store.standing import Change, Group, Moved, Stake, Standing

ACKNOWLEDGED: Final = "acknowledged"

PLACES: Final = 9
MOST: Final = Decimal(10) ** 20
"""A larger amount is no amount, and would spoil the sum of all others."""

_TEXTS: Final = ("incident", "step", "service", "phase", "reason", "fingerprint", "error", "remedy")

STANDING: Final = pa.schema(
    [
        *((name, pa.string()) for name in (*SagaKey._fields, *_TEXTS)),
        ("since", pa.int64()),
        ("joined_at", pa.int64()),
    ]
)
STAKES: Final = pa.schema(
    [
        *((name, pa.string()) for name in ("environment", "id", "incident", "currency")),
        ("certain", pa.decimal128(38, PLACES)),
        ("possible", pa.decimal128(38, PLACES)),
        ("places", pa.int8()),
    ]
)
INCIDENTS: Final = pa.schema([("key", pa.string()), ("document", pa.string())])
CHANGES: Final = pa.schema(
    [
        ("incident", pa.string()),
        ("at", pa.int64()),
        ("what", pa.string()),
        ("by_whom", pa.string()),
        ("note", pa.string()),
        ("sagas", pa.int64()),
    ]
)

REMEDIES: Final = ("resume", "undo", "verify_first")

GROUPED: Final = (*(each.name for each in fields(Group) if each.name not in {"split", "stakes"}), *REMEDIES)
"""What each column of `group_standing` is."""

Joined = Mapping[tuple[SagaKey, str], int]


class Incidents:
    """The tables of incidents in one database."""

    def __init__(self, database: Database) -> None:
        self._database = database
        ((standing,),) = database.rows(Query.COUNT_STANDING)
        self._is_any = bool(standing)
        self._version = self._redactions = 0
        self._listeners: list[Callable[[], None]] = []

    @property
    def version(self) -> int:
        """See `IncidentStore.version`."""
        return self._version

    def put(self, settled: pa.Table, rows: Sequence[SagaRow], now: int) -> bool:
        """Within a transaction: let those of these sagas that need someone be `rows`, and no other.

        True: anything changed; call `written` when the transaction is over.
        """
        standing = {row.key: row.standing for row in rows if row.standing}
        if not (self._is_any or standing):
            return False
        left = self._database.rows(Query.DELETE_STANDING, settled=settled)
        self._database.count(Query.DELETE_STAKES, settled=settled)
        joined = {(SagaKey(*key), incident): at for *key, incident, at in left}
        if standing:
            self._database.count(Query.INSERT_STANDING, batch_standing=_standing_table(standing, joined, now))
            self._database.count(Query.INSERT_STAKES, batch_stakes=_stakes_table(standing))
            self._is_any = True
        return bool(left or standing)

    def written(self) -> None:
        """Say that what was put can be read: a version told before that would have readers keep what was there."""
        self._version += 1
        for tell in self._listeners:
            tell()

    @property
    def redactions(self) -> int:
        """See `IncidentStore.redactions`."""
        return self._redactions

    def redacted(self) -> None:
        """Say that what was kept is to be read anew."""
        self._redactions += 1
        self.written()

    def listen(self, told: Callable[[], None]) -> None:
        """See `IncidentStore.listen`."""
        self._listeners.append(told)

    def groups(self) -> Sequence[Group]:
        """See `IncidentStore.groups`."""
        with self._database.transaction():
            grouped = self._database.rows(Query.GROUP_STANDING)
            summed = self._database.rows(Query.SUM_STAKES)
        stakes: defaultdict[str, list[Stake]] = defaultdict(list)
        for incident, currency, certain, possible, places in summed:
            stakes[incident].append(Stake(currency, _rounded(certain, places), _rounded(possible, places)))
        return [_group(row, stakes[row[0]]) for row in grouped]

    def kept(self) -> Mapping[str, str]:
        """See `IncidentStore.kept`."""
        return dict(self._database.rows(Query.SELECT_INCIDENTS))

    def keep(self, documents: Mapping[str, str], changes: Sequence[Change]) -> None:
        """See `IncidentStore.keep`."""
        written = [{"key": key, "document": document} for key, document in documents.items()]
        told = [dict(zip(CHANGES.names, each, strict=True)) for each in changes]
        with self._database.transaction():
            self._database.count(Query.PUT_INCIDENTS, batch_incidents=pa.Table.from_pylist(written, schema=INCIDENTS))
            self._database.count(
                Query.INSERT_INCIDENT_CHANGES, batch_changes=pa.Table.from_pylist(told, schema=CHANGES)
            )
            for each in changes:
                if each.what == ACKNOWLEDGED:
                    self._database.count(Query.DELETE_INCIDENT_MEMBERS, {"key": each.incident})
                    self._database.count(Query.INSERT_INCIDENT_MEMBERS, {"key": each.incident, "at": each.at})

    def named(self, settled: pa.Table) -> list[str]:
        """The keys of incidents of which these sagas are part, or were when they were acknowledged."""
        return [key for (key,) in self._database.rows(Query.SELECT_INCIDENTS_OF_IDS, settled=settled)]

    def redact(self, settled: pa.Table, keys: Iterable[str], texts: pa.Table) -> None:
        """Within a transaction: take these sagas out of what is kept of incidents, those of these keys in any case."""
        self._database.count(Query.DELETE_MEMBERS_OF_IDS, settled=settled)
        self._database.count(Query.CLEAR_NOTES, texts=texts)
        sought, certain = texts["text"].to_pylist(), set(keys)
        written = [
            {"key": key, "document": _redacted(document, sought)}
            for key, document in self.kept().items()
            if key in certain or any(text in document for text in sought)
        ]
        self._database.count(Query.PUT_INCIDENTS, batch_incidents=pa.Table.from_pylist(written, schema=INCIDENTS))

    def history(self, key: str) -> Sequence[Change]:
        """See `IncidentStore.history`."""
        return [Change(*row) for row in self._database.rows(Query.SELECT_INCIDENT_CHANGES, {"key": key})]

    def moved(self, key: str) -> Moved | None:
        """See `IncidentStore.moved`."""
        ((*counts, members),) = self._database.rows(Query.COUNT_MOVED, {"key": key})
        return Moved(*counts) if members else None

    def sagas_of(self, key: str) -> Sequence[SagaId]:
        """See `IncidentStore.sagas_of`."""
        return [SagaId(*row) for row in self._database.rows(Query.SELECT_SAGAS_OF_INCIDENT, {"key": key})]


def _redacted(document: str, texts: Sequence[str]) -> str:
    """Without its error and its examples, nor a note with one of these texts."""
    told = orjson.loads(document)
    without = {"error": "", "examples": []}
    note = {"note": ""} if any(text in told.get("note", "") for text in texts) else {}
    return orjson.dumps({**told, **without, **note}).decode()


def _standing_table(standing: Mapping[SagaKey, Standing], joined: Joined, now: int) -> pa.Table:
    rows = [
        key._asdict()
        | {name: getattr(each, name) for name in (*_TEXTS, "since")}
        | {"joined_at": joined.get((key, each.incident), now)}
        for key, each in standing.items()
    ]
    return pa.Table.from_pylist(rows, schema=STANDING)


def _stakes_table(standing: Mapping[SagaKey, Standing]) -> pa.Table:
    rows = [
        {
            "environment": key.environment,
            "id": key.id,
            "incident": each.incident,
            "currency": stake.currency,
            "certain": _kept(stake.certain),
            "possible": _kept(stake.possible),
            "places": _places(stake.certain, stake.possible),
        }
        for key, each in standing.items()
        for stake in each.stakes
        if abs(stake.certain) < MOST and abs(stake.possible) < MOST
    ]
    return pa.Table.from_pylist(rows, schema=STAKES)


def _kept(amount: Decimal) -> Decimal:
    return round(amount, PLACES)


def _places(*amounts: Decimal) -> int:
    """Decimal places as they were written, as far as they are kept."""
    return min(PLACES, max(0, *(-int(each.as_tuple().exponent) for each in amounts)))


def _rounded(amount: Decimal, places: int) -> Decimal:
    return round(amount, places) if places else Decimal(int(amount))


def _group(row: Sequence[Any], stakes: Iterable[Stake]) -> Group:
    said: dict[str, Any] = dict(zip(GROUPED, row, strict=True))
    said["split"] = {remedy: said.pop(remedy) for remedy in REMEDIES}
    return Group(**said | {"examples": tuple(said["examples"]), "stakes": tuple(stakes)})
