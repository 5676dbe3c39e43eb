"""The tables of incidents, of their sagas, and of the notifications of alerts: sent, and still to be delivered."""

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import astuple, fields
from decimal import Decimal
from functools import cached_property
from typing import Any, Final

import orjson
import pyarrow as pa

from sagascope_collector.incident_records import (
    AlertState,
    AmountAtRisk,
    IncidentChange,
    IncidentGroup,
    IncidentSaga,
    Notification,
    Pending,
    Progress,
)
from sagascope_collector.records import SagaId, SagaKey
from sagascope_collector.storage.connection import statements
from sagascope_collector.storage.database import Database
from sagascope_collector.storage.schema import table
from sagascope_collector.storage.summaries import SagaRow

SQL: Final = statements("incidents")

DECIMAL_PLACES: Final = 9
MAX_AMOUNT: Final = Decimal(10) ** 20
"""A larger amount is invalid, and would make sums meaningless."""

_TEXTS: Final = ("incident", "step", "service", "phase", "reason", "fingerprint", "error", "recommended_action")

ACTIONS: Final = ("resume", "compensate", "verify_first")

_NOT_GROUPED: Final = ("recommended_actions", "amounts", "failure_rate")
GROUPED: Final = (*(each.name for each in fields(IncidentGroup) if each.name not in _NOT_GROUPED), *ACTIONS)
"""The field of `IncidentGroup` in each column of `group_sagas`."""


class IncidentRecords:
    """The tables of incidents in one database."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._left: set[SagaId] = set()
        self.version = 0
        """A number that changes whenever the result of `groups` may have changed."""
        self.redactions = 0
        """A number that changes when an erasure has changed stored incidents."""
        self._listeners: list[Callable[[], None]] = []
        self.joined_at: Callable[[int, int], int] = lambda _, now: now
        """Returns when a saga joined its incident, from when it stopped, and now."""

    @cached_property
    def _members(self) -> set[SagaId]:
        """Sagas that are part of an incident, or were. Read when first needed: many would delay the start."""
        return set(map(SagaId._make, self._database.rows(SQL["select_members"])))

    def put(self, settled: pa.Table, rows: Sequence[SagaRow], now: int) -> bool:
        """Within a transaction: replaces these sagas with those of `rows` that need attention.

        Returns whether anything changed; call `written` after the transaction.
        """
        self._left = set()
        sagas = {row.key: row.incident for row in rows if row.incident}
        if not sagas and self._members.isdisjoint(map(SagaId, *(column.to_pylist() for column in settled.columns))):
            return False
        left = self._database.rows(SQL["delete_sagas"], settled=settled)
        self._database.count(SQL["delete_amounts"], settled=settled)
        joined = {(key, each.incident): self.joined_at(each.since, now) for key, each in sagas.items()}
        joined |= {(SagaKey(*key), incident): at for *key, incident, at in left}
        if sagas:
            self._database.count(SQL["insert_sagas"], batch_sagas=_sagas_table(sagas, joined))
            self._database.count(SQL["insert_amounts"], batch_amounts=_amounts_table(sagas))
        now_members = {SagaId(key.environment, key.id) for key in sagas}
        self._left = {SagaId(key.environment, key.id) for key, _ in joined} - now_members
        self._members |= now_members
        return bool(left or sagas)

    def written(self) -> None:
        """Announces that the data of `put` can be read."""
        self._members -= self._left
        self._left = set()
        self._announce()

    def _announce(self) -> None:
        self.version += 1
        for listener in self._listeners:
            listener()

    def redacted(self) -> None:
        """Announces that stored incidents must be read again."""
        self.redactions += 1
        self._announce()

    def listen(self, listener: Callable[[], None]) -> None:
        """Calls `listener` whenever `version` has changed, in the thread that wrote; it must not block."""
        self._listeners.append(listener)

    def groups(self) -> Sequence[IncidentGroup]:
        """Returns the sagas that need attention, grouped by incident."""
        with self._database.transaction():
            grouped = self._database.rows(SQL["group_sagas"])
            summed = self._database.rows(SQL["sum_amounts"])
        amounts: defaultdict[str, list[AmountAtRisk]] = defaultdict(list)
        for incident, *summed_amount in summed:
            amounts[incident].append(amount_at_risk(*summed_amount))
        return [_group(row, amounts[row[0]]) for row in grouped]

    def documents(self) -> Mapping[str, str]:
        """Returns the stored incidents as JSON texts, by key."""
        return dict(self._database.rows(SQL["select_incidents"]))

    def store(self, documents: Mapping[str, str], changes: Sequence[IncidentChange]) -> None:
        """Stores incidents and their changes; an acknowledgement also stores which sagas are part of the incident."""
        written = table("incident at what by_whom note sagas", changes, at=pa.int64(), sagas=pa.int64())
        with self._database.transaction():
            self._database.count(SQL["put_incidents"], batch_incidents=table("key document", documents.items()))
            self._database.count(SQL["insert_incident_changes"], batch_changes=written)
            for each in changes:
                if each.what == "acknowledged":
                    self._database.count(SQL["delete_incident_members"], {"key": each.incident})
                    self._database.count(SQL["insert_incident_members"], {"key": each.incident, "at": each.at})

    def named(self, settled: pa.Table) -> list[str]:
        """Returns the incidents of which these sagas are part, or were when the incident was acknowledged."""
        return [key for (key,) in self._database.rows(SQL["select_incidents_of_ids"], settled=settled)]

    def redact(self, settled: pa.Table, keys: Iterable[str], texts: pa.Table) -> None:
        """Within a transaction: removes these sagas from stored incidents, always from those of `keys`."""
        self._database.count(SQL["delete_members_of_ids"], settled=settled)
        self._database.count(SQL["clear_notes"], texts=texts)
        sought, certain = texts["text"].to_pylist(), set(keys)
        written = [
            (key, redacted(document, sought))
            for key, document in self.documents().items()
            if key in certain or any(text in document for text in sought)
        ]
        self._database.count(SQL["put_incidents"], batch_incidents=table("key document", written))

    def history(self, key: str) -> Sequence[IncidentChange]:
        """Returns all changes of an incident, earliest first."""
        return [IncidentChange(*row) for row in self._database.rows(SQL["select_incident_changes"], {"key": key})]

    def progress(self, key: str) -> Progress | None:
        """Returns the state of an incident's sagas since it was last acknowledged; None: it never was."""
        ((*counts, members),) = self._database.rows(SQL["count_moved"], {"key": key})
        return Progress(*counts) if members else None


def redacted(document: str, texts: Sequence[str]) -> str:
    """Returns the document without its error, its examples, and a note that contains one of these texts."""
    known = {**orjson.loads(document), "error": "", "examples": []}
    note = {"note": ""} if any(text in known.get("note", "") for text in texts) else {}
    return orjson.dumps({**known, **note}).decode()


def _sagas_table(sagas: Mapping[SagaKey, IncidentSaga], joined: Mapping[tuple[SagaKey, str], int]) -> pa.Table:
    rows = [
        (*key, *(getattr(each, name) for name in _TEXTS), each.since, joined[key, each.incident])
        for key, each in sagas.items()
    ]
    names = " ".join((*SagaKey._fields, *_TEXTS, "since", "joined_at"))
    return table(names, rows, since=pa.int64(), joined_at=pa.int64())


def _amounts_table(sagas: Mapping[SagaKey, IncidentSaga]) -> pa.Table:
    rows = [
        (
            *(key.environment, key.id, each.incident, amount.currency),
            *(round(amount.certain, DECIMAL_PLACES), round(amount.possible, DECIMAL_PLACES)),
            _places(amount.certain, amount.possible),
        )
        for key, each in sagas.items()
        for amount in each.amounts
        if abs(amount.certain) < MAX_AMOUNT and abs(amount.possible) < MAX_AMOUNT
    ]
    kind = pa.decimal128(38, DECIMAL_PLACES)
    return table(
        "environment id incident currency certain possible places", rows, certain=kind, possible=kind, places=pa.int8()
    )


def _places(*amounts: Decimal) -> int:
    """Returns the decimal places as written, at most `DECIMAL_PLACES`."""
    return min(DECIMAL_PLACES, max(0, *(-int(each.as_tuple().exponent) for each in amounts)))


def amount_at_risk(currency: str, certain: Decimal, possible: Decimal, places: int) -> AmountAtRisk:
    """Returns sums of amounts with the decimal places that were received."""
    rounded = (round(amount, places) if places else Decimal(int(amount)) for amount in (certain, possible))
    return AmountAtRisk(currency, *rounded)


def _group(row: Sequence[Any], amounts: Iterable[AmountAtRisk]) -> IncidentGroup:
    values: dict[str, Any] = dict(zip(GROUPED, row, strict=True))
    values["recommended_actions"] = {action: values.pop(action) for action in ACTIONS}
    return IncidentGroup(**values | {"examples": tuple(values["examples"]), "amounts": tuple(amounts)})


ALERTS: Final = statements("alerts")


class AlertRecords:
    """The tables of alerts in one database."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self.exclusive = database.transaction

    def states(self) -> Sequence[AlertState]:
        """Returns the states of all receivers and incidents, except incidents whose resolution was notified."""
        return [AlertState(*row) for row in self._database.rows(ALERTS["select_states"])]

    def put(self, states: Sequence[AlertState], notifications: Sequence[Notification]) -> None:
        """Writes both in one transaction, so that a crash neither repeats nor loses a notification."""
        numbers = dict.fromkeys(("opened_at", "growth_step", "resolved_since"), pa.int64())
        rows = table(" ".join(AlertState._fields), states, is_resolved=pa.bool_(), **numbers)
        with self._database.transaction():
            self._database.count(ALERTS["put_states"], batch_states=rows)
            if notifications:
                batch = table("id receiver at event document", map(astuple, notifications), at=pa.int64())
                self._database.count(ALERTS["insert_notifications"], batch_notifications=batch)

    def pending(self) -> Sequence[Pending]:
        """Returns the notifications to deliver, oldest first."""
        found = self._database.rows(ALERTS["select_notifications"])
        return [Pending(Notification(*own), attempts, at) for *own, attempts, at in found]

    def delivered(self, id_: str, at: int) -> None:
        """Records that a notification was delivered."""
        self._database.count(ALERTS["update_notification_delivered"], {"id": id_, "at": at})

    def failed(self, id_: str, next_attempt_at: int | None, error: str) -> None:
        """Records a failed delivery and the time of the next attempt; None: no further attempt."""
        values = {"id": id_, "next_attempt_at": next_attempt_at, "error": error}
        self._database.count(ALERTS["update_notification_failed"], values)

    def claim(self, _: str, __: float) -> bool:
        """Returns whether this process may send a notification: always, because no other has the database open."""
        return True

    def redact(self, texts: pa.Table) -> None:
        """Within a transaction: clears notifications, sent or not, that contain one of these texts."""
        self._database.count(ALERTS["clear_notifications"], texts=texts)
