"""What a store promises. Every implementation passes one conformance suite.

All methods may be called from any thread. None lets a connection or cursor escape.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final, NamedTuple, Protocol

import pyarrow as pa

from sagascope_collector.records import Facts, Instance, Log, SagaId, SagaKey, Span
from sagascope_collector.store.alerting import AlertStore
from sagascope_collector.store.presence import Sighting
from sagascope_collector.store.standing import IncidentStore, Standing

SLOT: Final = 300
"""Seconds of steps that are counted together while they are young."""

OLD_SLOT: Final = 3600
"""Seconds of steps that are counted together later."""


@dataclass(frozen=True, slots=True)
class Batch:
    """Decoded telemetry by columns, ready to be stored; the schemas are `store.schema.SPANS`, `.LOGS`, ...

    Rows may repeat, within the batch and what is stored: a record is stored once.
    """

    spans: pa.Table
    logs: pa.Table
    links: pa.Table
    """One row for each span link that names a saga."""
    origins: pa.Table
    """What `spans` and `logs` came under, by the number of the row."""
    processes: tuple[Sighting, ...]
    """What the records say of the processes that sent them; one process may come several times."""


class Appended(NamedTuple):
    """What became of a batch, in records."""

    stored: int
    duplicate: int


class SagaRow(NamedTuple):
    """The kept summary of one saga: derived, so that lists need no history; rebuilt from the facts at any time."""

    key: SagaKey
    status: str
    attention: str | None
    step: str | None
    service: str | None
    steps: tuple[str, ...]
    """Names of every step with an attempt, for the ``step`` filter."""
    services: tuple[str, ...]
    started_at: int
    updated_at: int
    ended_at: int | None
    due_at: int | None
    keys: dict[str, str]
    document: str
    """The `wire.SagaSummary` as JSON."""
    runners: Mapping[str, str] = MappingProxyType({})
    """The service that ran each step, by the step's name. Kept for all sagas of that name: see `Store.runners`."""
    standing: Standing | None = None
    """Why it needs someone; written, and told of by `Store.incidents` alone: rows that are read back have None."""


@dataclass(frozen=True, slots=True)
class SagaFilter:
    """What a list of sagas is narrowed to; None = not. Times are nanoseconds, ``since <= started_at < until``."""

    environment: str | None = None
    status: str | None = None
    attention: str | None = None
    """A reason, or ``any``."""
    name: str | None = None
    service: str | None = None
    step: str | None = None
    since: int | None = None
    until: int | None = None
    q: str | None = None
    """An id, a prefix of one, or the value of a business key."""
    incident: str | None = None
    """The key of the incident that they are part of."""
    alone: bool | None = None
    """True: only those that share their incident with no other; False: only those that do."""
    course: tuple[str, ...] | None = None
    """Exactly these steps, in the order in which they began; each once."""


class Order(NamedTuple):
    """By what a list is ordered. But for the default, everything it may be narrowed to is looked at."""

    by: str = "started"
    """``started``, ``updated``, ``duration`` (so far, where one has not ended), ``status``, ``id`` or ``step``."""
    is_falling: bool = True

    def __str__(self) -> str:
        return f"-{self.by}" if self.is_falling else self.by


NEWEST: Final = Order()


class CourseCount(NamedTuple):
    """How many sagas of a type that ended took the same steps in the same order, and the newest of them."""

    steps: tuple[str, ...]
    sagas: int
    completed: int
    newest: SagaId


class Changed(NamedTuple):
    """Sagas with facts newer than their summaries, and for how long the longest of them waits."""

    sagas: int
    seconds: float


class Course(NamedTuple):
    """What sagas that ran alike have in common. Steps and services are named once, in the order in which they began."""

    name: str
    steps: tuple[str, ...]
    services: tuple[str, ...]
    root: int
    """Which of its spans is the root, in order of time."""
    has_failed: bool
    """Whether the root has the status of an error."""


class PlainEnd(NamedTuple):
    """A saga about which nothing speaks against its having ended plainly, but perhaps what its root says.

    One root, which has ended; one name and run; every span is final; steps forward only, and of none may two attempts
    have succeeded.
    """

    environment: str
    id: str
    run: str
    course: Course
    started_at: int
    updated_at: int
    ended_at: int
    root: dict[str, Any]
    """The root's attributes, as far as a summary tells of them."""
    told: Sequence[dict[str, Any]]
    """Those of the records that may carry a business key, in their order."""


class LessonRow(NamedTuple):
    """What one finished saga taught, as text that the store does not read."""

    key: SagaKey
    ended_at: int
    document: str


@dataclass(frozen=True, slots=True)
class Keep:
    """How long and how much is kept of sagas that ended and need nobody. Others are kept."""

    seconds: float | None = None
    """Since the last that was heard of one; None: for ever."""
    bytes: int | None = None
    """Of the folder beside the database; None: whatever it takes."""
    shrink_seconds: float | None = None
    """Since the last that was heard of one that completed; then its summary stays, and its records go. None: never."""


def whole_period(seconds: int) -> int:
    """The shortest length, in seconds, into whose parts steps can be counted, that is no shorter than this."""
    unit = SLOT if seconds < OLD_SLOT else OLD_SLOT
    return max(-(-seconds // unit), 1) * unit


HAND_OVER: Final = "hand_over"
"""The type of what is no step, but the time from the end of one to the beginning of another."""


def between(hand_over: str) -> tuple[str, str]:
    """The two steps."""
    before, _, after = hand_over.partition("\x1f")
    return before, after


class StepPeriod(NamedTuple):
    """What became of the attempts of one step that began within a part of a window."""

    at: int
    """When the part begins, in nanoseconds since 1970."""
    succeeded: int
    failed: int
    percentiles: tuple[float, float, float] | None
    """As in `StepStatistics`."""


class StepStatistics(NamedTuple):
    """What became of the attempts of one step."""

    step: str
    type: str
    succeeded: int
    failed: int
    retried: int
    """Attempts after the first."""
    undone: int
    """Successes of what undoes it."""
    in_flight: int
    """Sagas under way that stand at it."""
    percentiles: tuple[float, float, float] | None
    """Seconds within which half, 95 and 99 of a hundred succeeded; None: none did."""
    periods: Sequence[StepPeriod]
    """The parts of the window in which anything began, the earliest first."""


class Page(NamedTuple):
    """Rows newest start first, and where to go on; None: nothing follows."""

    rows: list[SagaRow]
    next_cursor: str | None


class Part(NamedTuple):
    """A file of a copy of a store."""

    name: str
    path: Path
    size: int
    """Bytes that belong to it; a journal may have grown since."""


class Counters(NamedTuple):
    """Records since the database was made."""

    received: int
    stored: int
    rejected: int
    duplicate: int


class Store(Protocol):
    """Facts appended, summaries kept beside them."""

    @property
    def incidents(self) -> IncidentStore:
        """What sagas that need someone have in common."""
        ...

    @property
    def alerts(self) -> AlertStore:
        """Whom was told what of incidents."""
        ...

    def append(self, batch: Batch, *, rejected: int = 0) -> Appended:
        """Store a batch; when this returns, it is on disk. A batch is stored whole or not at all.

        Raises:
            StoreUnavailable: nothing of it was stored; the same batch may be appended again.
        """
        ...

    def tend(self) -> bool:
        """Do one piece of the work that is not urgent, such as sealing; False: there is none now.

        Reading and appending go on meanwhile, and a crash in the midst of it loses nothing.

        Raises:
            StoreUnavailable: it is still to be done.
        """
        ...

    def saga_ids(self) -> Iterator[Sequence[SagaId]]:
        """Every saga id with facts, some thousands at a time; one that was sealed more than once may come again."""
        ...

    def plain_ends(self, ids: Sequence[SagaId]) -> Sequence[PlainEnd]:
        """Those of these that ended plainly: in bulk, and much cheaper than `facts`. Others are absent."""
        ...

    def changed(self) -> Changed:
        """How much there is for `changed_ids` to report."""
        ...

    def changed_ids(self, limit: int, *, quiet: float = 0.0, within: float = 0.0) -> Sequence[SagaId]:
        """Saga ids with facts newer than their summaries, oldest change first; also after a crash.

        Only those about which nothing came for ``quiet`` seconds, or that changed ``within`` seconds ago or earlier.
        One reader asks at a time; `put_summaries` settles what its latest call reported.
        """
        ...

    def postpone(self, ids: Sequence[SagaId]) -> None:
        """Let `changed_ids` report these as if they had changed just now: others first."""
        ...

    def due_ids(self, now: int, limit: int) -> Sequence[SagaId]:
        """Saga ids with a summary whose ``due_at`` is not after ``now``, earliest first."""
        ...

    def facts(self, ids: Sequence[SagaId]) -> dict[SagaId, Facts]:
        """Everything received about each id; an unknown id is absent. Spans that link to a saga are among its own."""
        ...

    def facts_called(self, saga_id: str) -> dict[SagaId, Facts]:
        """`facts` of this id in every environment in which it was seen, in the order of their names."""
        ...

    def spans(self, since: int, until: int) -> Iterator[Span]:
        """Every span that began between two moments, in nanoseconds since 1970, in no particular order."""
        ...

    def logs(self, since: int, until: int) -> Iterator[Log]:
        """Every log record that lies between two moments, in nanoseconds since 1970, in no particular order."""
        ...

    def put_summaries(self, ids: Sequence[SagaId], rows: Sequence[SagaRow]) -> None:
        """Replace all summaries of these ids by ``rows``, and count what `changed_ids` last reported of them as seen.

        ``rows`` were made of facts read after that; facts that arrived since keep their id in `changed_ids`. Of sagas
        that were `shrunk` the summaries stay as they are.
        """
        ...

    def forget(self, ids: Sequence[SagaId], texts: Iterable[str]) -> int:
        """Remove these sagas so that nothing of them is left on disk; how many spans and log records went.

        Of what was kept of incidents and alerts, what names them or holds one of ``texts`` goes as well. What is
        received later is new. It may take minutes; reading and appending go on.

        Raises:
            StoreUnavailable: it is not done; it is, at the latest, after the next start.
        """
        ...

    def note_backup(self, place: str) -> None:
        """Remember that a copy made now is written there."""
        ...

    def backups(self, since: int) -> Sequence[str]:
        """Where copies were written to that were made at this time, in nanoseconds, or later, as far as is known."""
        ...

    def put_lessons(self, rows: Sequence[LessonRow], keep: int) -> None:
        """Keep what finished sagas taught, one row a saga; of each (environment, name) the ``keep`` that ended last."""
        ...

    def lessons(self) -> Sequence[str]:
        """The documents of all lessons that are kept, in no particular order."""
        ...

    def saga_rows(self, narrowed: SagaFilter, *, limit: int, cursor: str | None = None, order: Order = NEWEST) -> Page:
        """Summaries in an order. A cursor that is not one of ours, or of another order, raises `BadCursor`."""
        ...

    def search(self, text: str, *, limit: int) -> list[tuple[str, SagaRow]]:
        """(kind, summary) of sagas found by exact id, id prefix, business key value, trace or span id; best first."""
        ...

    def has_trace(self, text: str) -> bool:
        """Whether any span has this trace or span id, in a saga or not."""
        ...

    def shrunk(self, saga_id: str) -> Sequence[SagaRow]:
        """The summaries of this id, in any environment, of which the records were removed."""
        ...

    def has_expired(self, saga_id: str) -> bool:
        """Whether a saga of this id was removed because of its age, or to make room; wrong for one id in many."""
        ...

    def flow_counts(self) -> list[tuple[str, str, str, int, int]]:
        """(name, environment, status, sagas, of them needing someone)."""
        ...

    def steps(self, name: str, environment: str | None, since: int, period: int) -> Sequence[StepStatistics]:
        """How often and how long the steps of a saga type ran that began since then, in their usual order.

        What is of the type `HAND_OVER` is the time between two steps, which `between` tells.

        `since` is in nanoseconds since 1970, and cut to five minutes, or, where it is older than two days, to hours.
        `period` is the length of a part of the window, in seconds: a `whole_period`.
        """
        ...

    def courses(self, name: str, environment: str | None, since: int, limit: int) -> Sequence[CourseCount]:
        """Which courses the sagas of a type took that started since then and ended, the most frequent first."""
        ...

    def runners(self) -> Mapping[tuple[str, str, str], str]:
        """The service that ran a step last, by (environment, saga name, step), over all sagas that were summarised."""
        ...

    def instances(self) -> Sequence[Instance]:
        """Every process ever heard, latest first."""
        ...

    def counters(self) -> Counters:
        """Records received, stored, rejected and sent again."""
        ...

    def within(self, seconds: float) -> AbstractContextManager[None]:
        """Give this task, or thread, so many seconds for all that it does inside; outside there is no bound.

        What then still runs in the database is interrupted, and a transaction under way is undone; whatever is asked
        of the store next raises too.

        Raises:
            ReadTooLong: from the method that was called.
        """
        ...

    def try_writing(self) -> None:
        """Write as much as a small commit, and take it away again.

        Raises:
            StoreUnavailable: the disk does not take it.
        """
        ...

    def stay_alive(self) -> None:
        """Note that a collector is listening now, so that a crash is known to within the time between two calls."""
        ...

    def note_deaf(self, start: int, end: int) -> None:
        """Note that from ``start`` to ``end`` senders were refused; a later note with the same start replaces it."""
        ...

    def deaf_intervals(self, since: int) -> list[tuple[int, int]]:
        """(from, to) in nanoseconds: when nothing was taken in on this database, if that lasted until after ``since``.

        Between a stop or crash and the next start, and as `note_deaf` said; earliest first.
        """
        ...

    def copied(self) -> AbstractContextManager[Sequence[Part]]:
        """The files of a copy as of now, until the block ends; what is acknowledged by now is in it.

        Raises:
            StoreUnavailable: no copy can be made.
        """
        ...

    def size_bytes(self) -> int:
        """What the database takes on disk, write-ahead log included; 0 in memory."""
        ...

    def close(self) -> None:
        """Finish what is under way and release the database; further calls but this raise `StoreUnavailable`."""
        ...
