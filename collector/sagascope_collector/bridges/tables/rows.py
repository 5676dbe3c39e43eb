"""The rows of a followed table, and the checkpoint with the rows in flight."""

import logging
import math
from collections.abc import Mapping as ReadOnlyDict
from typing import Any, Final
from zoneinfo import ZoneInfo

from pydantic import BaseModel, ConfigDict, Field

from sagascope_collector.bridges.tables.mapping import State, Table, normalized_state_name
from sagascope_collector.durations import parse_datetime, to_nanoseconds

UNIX_UNITS: Final = ((1e11, 1_000_000_000), (1e15, 1_000_000), (1e18, 1_000), (math.inf, 1))
"""The unit in nanoseconds of a number that counts time since 1970, and below which number it applies."""

MAX_NUMBER: Final = 1e20

MAX_TIME_NS: Final = 2**63 - 1
"""The latest time that OTLP and the store can hold, in 2262."""

_log: Final = logging.getLogger(__name__)

Values = ReadOnlyDict[str, str | None]
"""The values of a row as PostgreSQL writes them, by their names in `Columns`."""


class Row(BaseModel):
    """A row. Times are in nanoseconds since 1970; 0 is unknown."""

    model_config = ConfigDict(frozen=True)

    id: str
    state: State
    state_name: str = ""
    """The state as written in the row."""
    name: str = ""
    run: str = ""
    step: str = ""
    step_key: str = ""
    attempt: int | None = None
    """None: the row does not count attempts."""
    max_attempts: int = 0
    retry_at: int = 0
    timeout: float = 0.0
    error: str = ""
    error_type: str = ""
    started: int = 0
    changed: int = 0
    ended: int = 0
    compensates: str = ""
    earlier: str = ""
    idempotency_key: str = ""
    amount: str = ""
    currency: str = ""
    service: str = ""
    keys: tuple[tuple[str, str], ...] = ()

    def changed_by(self, time: int) -> "Row":
        """Returns the row with a time of its last update, unless it has one."""
        return self if self.changed else self.model_copy(update={"changed": time})


_TIME_COLUMNS: Final = frozenset({"retry_at", "started", "changed", "ended"})
_COUNT_COLUMNS: Final = frozenset({"attempt", "max_attempts"})
_TEXT_COLUMNS: Final = (
    frozenset(Row.model_fields) - _TIME_COLUMNS - _COUNT_COLUMNS - {"state", "state_name", "timeout", "keys"}
)


class RowParser:
    """Parses the rows of one table."""

    def __init__(self, table: Table) -> None:
        self._table = table
        self._zone = ZoneInfo(table.timezone)
        self._states = table.state_names
        self._unknown_states: set[str] = set()

    def parse(self, values: Values, keys: Values) -> Row | None:
        """Returns the row; None if it has no saga id, or no step in a table of steps."""
        texts = {name: value or "" for name, value in values.items()}
        if not texts["id"] or (self._table.rows == "steps" and not texts.get("step")):
            return None
        fields: dict[str, Any] = {name: texts[name] for name in _TEXT_COLUMNS & texts.keys()}
        fields |= {name: _count(texts[name]) for name in _COUNT_COLUMNS & texts.keys()}
        fields |= {name: self._time(texts[name]) for name in _TIME_COLUMNS & texts.keys()}
        fields["timeout"] = _number(texts.get("timeout", ""))
        fields["keys"] = tuple((name, value) for name, value in keys.items() if value)
        if self._table.columns.step == self._table.columns.state:
            fields["step"] = ""
        return Row(state=self._state(texts), state_name=texts.get("state", ""), **fields)

    def _state(self, texts: ReadOnlyDict[str, str]) -> State:
        if "state" not in texts:
            return State.SUCCEEDED if texts.get("ended") else State.STARTED
        name = normalized_state_name(texts["state"])
        if name not in self._states and name not in self._unknown_states:
            self._unknown_states.add(name)
            _log.warning("The mapping of %s does not know the state %r; it counts as started.", self._table.name, name)
        return self._states.get(name, State.STARTED)

    def _time(self, text: str) -> int:
        """Returns nanoseconds since 1970; 0 for an invalid time, ``infinity`` or one beyond `MAX_TIME_NS`."""
        if number := _number(text):
            return _valid_time(round(number * next(unit for below, unit in UNIX_UNITS if number < below)))
        try:
            time = parse_datetime(text)
        except (ValueError, OverflowError):
            return 0
        return _valid_time(to_nanoseconds(time if time.tzinfo else time.replace(tzinfo=self._zone)))


def _valid_time(time: int) -> int:
    return time if 0 < time <= MAX_TIME_NS else 0


def _number(text: str) -> float:
    try:
        number = float(text)
    except ValueError:
        return 0.0
    return number if math.isfinite(number) and 0 < number < MAX_NUMBER else 0.0


def _count(text: str) -> int:
    return int(_number(text))


class Attempt(BaseModel):
    """An attempt of a step. Times are in nanoseconds since 1970."""

    model_config = ConfigDict(frozen=True)

    step: str
    step_key: str
    type: str
    compensates: str
    number: int
    started_at: int
    repetition: int = 1
    """How many times the row has reached this step; more than once if it came back after the step was done."""
    has_failed: bool = False
    """Whether its failure was reported, and the row waits for the next attempt."""
    is_state: bool = False
    """Whether it is named after the row's state, although the table has a column for steps: the row names none."""

    def is_same_step(self, other: "Attempt") -> bool:
        """Returns whether both are attempts of one step."""
        return (self.step, self.step_key, self.type) == (other.step, other.step_key, other.type)


class OpenRow(BaseModel):
    """A row in flight, as it was last reported."""

    model_config = ConfigDict(frozen=True)

    row: Row
    started_at: int
    """When the saga, or the step, started."""
    attempt: Attempt | None = None
    is_compensating: bool = False
    """Whether a compensation was seen."""
    done: tuple[tuple[str, str], ...] = ()
    """The steps, with their keys, that were reported as done; a step that was done twice is listed twice."""


class Change(BaseModel):
    """A change of a row that is to be reported."""

    model_config = ConfigDict(frozen=True)

    key: str
    row: Row
    before: OpenRow | None = None
    is_first: bool = False
    """Whether the row cannot have been reported before."""


class TableCheckpoint(BaseModel):
    """How far one table was read. A row's key is the JSON array of its key columns.

    Unknown fields are refused: a checkpoint of another version must not count as a new one.
    """

    model_config = ConfigDict(extra="forbid")

    is_initialized: bool = False
    """Whether all rows that were in flight at the first poll have been read."""
    cursor_value: str | None = None
    """The greatest value of the cursor column, as PostgreSQL writes it; None: read from the beginning."""
    cursor_seen_at: int = 0
    """When that value was first read, on the bridge's clock."""
    last_row: list[str] = []
    """The cursor and key of the last row."""
    is_settled: bool = False
    """Whether no transaction can commit a row before `last_row` any more, so that reading continues behind it."""
    scan_started_at: int = 0
    """When the current scan started, on the bridge's clock."""
    scan_after: list[str] = []
    """The cursor, if any, and key of the row behind which the current scan continues; empty between two scans."""
    checked_key: str = ""
    """The last key that was read by key; the next poll continues behind it."""
    open_rows: dict[str, OpenRow] = {}
    changes: list[Change] = []
    """Changes that are saved before they are sent, so that they are sent again after a crash."""
    has_wrong_cursor: bool = Field(default=False, exclude=True)
    """Whether a row changed and its cursor did not, although the mapping says that the cursor grows."""
    has_hidden_rows: bool = Field(default=False, exclude=True)
    """Whether a row in flight was found that the cursor had not led to."""
    is_checkable: bool = Field(default=True, exclude=True)
    """Whether the search for such rows ends in time: not so in a large table without an index for rows in flight."""
    searched_at: int = Field(default=0, exclude=True)
    """When a page of rows was searched for them, on the bridge's clock."""
    searched_until: list[str] = Field(default=[], exclude=True)
    """The key behind which the search continues."""
    cursors: dict[str, tuple[str, int, int]] = Field(default={}, exclude=True)
    """Of each row in flight: its cursor, when that was first read, on the bridge's clock, and the row's hash then."""
    previous_hashes: dict[str, int] = Field(default={}, exclude=True)
    """Hashes of the rows in the previous scan: a row with the same hash has not changed."""
    current_hashes: dict[str, int] = Field(default={}, exclude=True)
    """Hashes of the rows in the current scan."""


class Checkpoint(BaseModel):
    """How far all tables were read."""

    model_config = ConfigDict(extra="forbid")

    database: str = ""
    """The database of the rows. In another database, all of them would be missing."""
    tables: dict[str, TableCheckpoint] = {}
