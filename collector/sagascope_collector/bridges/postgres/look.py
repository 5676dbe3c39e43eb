"""One look at one database: what is prepared in it, what became of what was, and whom it holds up."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.resources import files
from typing import Any, Final

import psycopg

from sagascope import semconv
from sagascope_collector.bridges.postgres import facts
from sagascope_collector.bridges.postgres.facts import Held, Participant
from sagascope_collector.bridges.postgres.gids import Gid, Gids
from sagascope_collector.bridges.postgres.place import Prepared, Standing
from sagascope_collector.bridges.telling import Facts

LOOK_AT_LOCKS_AFTER: Final = 2_000_000_000
"""Nanoseconds for which a transaction is prepared before its locks are looked at: most are decided by then."""

AGAIN_AFTER: Final = 30_000_000_000
"""Nanoseconds after which locks that changed are told again."""

MOST_TOLD: Final = 10
"""Tables and sessions that are named."""

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_HALF: Final = 1 << 32

_SQL: Final = {
    name: files("sagascope_collector.bridges.postgres").joinpath(f"queries/{name}.sql").read_text(encoding="utf-8")
    for name in ("prepared", "settled", "held", "waiting")
}

_DECIDED: Final = {"committed": semconv.TYPE_COMMIT, "aborted": semconv.TYPE_ROLLBACK}


@dataclass(frozen=True, slots=True)
class Decision:
    """A participant that is prepared no more."""

    whose: Participant
    gid: Gid
    prepared: Prepared
    type: str
    at: int


class Look:
    """One look at one database."""

    def __init__(self, connection: psycopg.Connection[Any], whose: Participant, gids: Gids, now: int) -> None:
        self._connection = connection
        self._whose = whose
        self._gids = gids
        self._now = now
        self.decided: list[Decision] = []
        """What was decided since the last look."""

    def since(self, known: Mapping[int, Standing], told: Facts) -> dict[int, Standing]:
        """What stands now; what is new is added to `told`."""
        rows = self._rows("prepared")
        standing = {each.xid: known.get(each.xid) or self._voted(each, told) for each in map(_prepared, rows)}
        for xid, gone in known.items():
            if xid not in standing:
                self._is_gone(gone.prepared)
        return self._with_locks(standing, told)

    def _voted(self, prepared: Prepared, told: Facts) -> Standing:
        told.spans.append(facts.vote(self._whose, self._gids.read(prepared.gid), prepared))
        return Standing(prepared=prepared)

    def _is_gone(self, prepared: Prepared) -> None:
        """Ask what became of it; PostgreSQL knows for long."""
        (settled,) = self._rows("settled", {"xid": prepared.xid})
        type_ = _DECIDED.get(settled.status)
        if type_ is None:
            return
        at = _nanoseconds(settled.committed_at) if settled.committed_at else self._now
        self.decided.append(Decision(self._whose, self._gids.read(prepared.gid), prepared, type_, at))

    def _with_locks(self, standing: Mapping[int, Standing], told: Facts) -> dict[int, Standing]:
        old = {xid for xid, each in standing.items() if self._now - each.prepared.at > LOOK_AT_LOCKS_AFTER}
        if not old:
            return dict(standing)
        held = self._held(old)
        return {xid: self._locks_told(each, held[xid], told) if xid in old else each for xid, each in standing.items()}

    def _locks_told(self, each: Standing, held: Held, told: Facts) -> Standing:
        text = str(held)
        if text == each.locks or self._now - each.told_at < AGAIN_AFTER:
            return each
        told.logs.append(facts.locks(self._whose, self._gids.read(each.prepared.gid), each.prepared, held, self._now))
        return Standing(prepared=each.prepared, locks=text, told_at=self._now)

    def _held(self, xids: set[int]) -> dict[int, Held]:
        """What each holds, and who waits for it."""
        relations: dict[int, dict[str, str]] = {}
        for row in self._rows("held"):
            relations.setdefault(row.xid, {})[row.relation] = f"{row.relation} ({', '.join(row.modes)})"
        waiting = self._rows("waiting")
        return {xid: _told_of(relations.get(xid % _HALF, {}), xid % _HALF, waiting) for xid in xids}

    def _rows(self, name: str, values: Mapping[str, Any] | None = None) -> list[Any]:
        return self._connection.execute(_SQL[name], values).fetchall()


def _told_of(relations: Mapping[str, str], xid: int, waiting: Sequence[Any]) -> Held:
    """What one transaction holds. Who waits for one that waits for it waits for it, too."""
    blocked: dict[int, Any] = {}
    while True:
        found = {row.pid: row for row in waiting if row.pid not in blocked and _waits(row, relations, xid, blocked)}
        if not found:
            break
        blocked |= found
    sessions = [f"{row.application or 'a session'} (pid {row.pid})" for row in blocked.values()]
    return Held(tuple(relations.values())[:MOST_TOLD], tuple(sessions[:MOST_TOLD]))


def _waits(row: Any, relations: Mapping[str, str], xid: int, blocked: Mapping[int, Any]) -> bool:
    if any(pid in blocked for pid in row.blocked_by):
        return True
    return 0 in row.blocked_by and (row.xid == xid or row.relation in relations)


def _prepared(row: Any) -> Prepared:
    return Prepared(gid=row.gid, xid=whole_id(row.xid, row.next_xid), at=_nanoseconds(row.prepared), owner=row.owner)


def whole_id(xid: int, near: int) -> int:
    """All 64 bits of a transaction's id, of which the lower 32 are known: it is the one nearest to `near`."""
    whole = near - near % _HALF + xid
    if whole - near > _HALF // 2:
        return whole - _HALF
    return whole + _HALF if near - whole > _HALF // 2 else whole


def _nanoseconds(moment: datetime) -> int:
    passed = moment - _EPOCH
    return (passed.days * 86_400 + passed.seconds) * 1_000_000_000 + passed.microseconds * 1_000
