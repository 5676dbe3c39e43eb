"""The mapping of a table's columns and states to sagas: the file of ``--mapping``."""

import re
from collections.abc import Iterator
from enum import StrEnum
from importlib.resources import as_file, files
from pathlib import Path
from typing import Annotated, Any, Final, Literal, Self
from zoneinfo import ZoneInfo

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, model_validator

from sagascope_collector import config_file
from sagascope_collector.errors import BadRules

Text = Annotated[str, Field(min_length=1)]


class State(StrEnum):
    """The state of a row: of a saga or of a step."""

    PENDING = "pending"
    """It has not started."""
    STARTED = "started"
    RETRYING = "retrying"
    """The last attempt failed, and another one will follow."""
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    COMPENSATING = "compensating"
    COMPENSATED = "compensated"
    COMPENSATION_FAILED = "compensation_failed"
    AWAITING = "awaiting"
    """It waits for an event without a deadline: no attempt, but a wait of its saga, named as the row's step."""
    SKIPPED = "skipped"
    """It is not executed; nothing is reported."""


FINAL_STATES: Final = frozenset(
    {State.SUCCEEDED, State.FAILED, State.COMPENSATED, State.COMPENSATION_FAILED, State.SKIPPED}
)

_DEFAULT_STATE_NAMES: Final = {
    State.PENDING: "pending created new initial ready queued scheduled waiting not_started",
    State.STARTED: "started running in_progress processing executing active in_flight open sent",
    State.RETRYING: "retrying retry backing_off retry_scheduled",
    State.SUCCEEDED: "succeeded success successful completed complete done finished ended executed ok published",
    State.FAILED: "failed failure error errored aborted rejected timed_out dead",
    State.COMPENSATING: "compensating rolling_back undoing reverting",
    State.COMPENSATED: "compensated rolled_back undone reverted cancelled canceled",
    State.COMPENSATION_FAILED: "compensation_failed undo_failed rollback_failed",
    State.AWAITING: "awaiting",
    State.SKIPPED: "skipped ignored",
}


def normalized_state_name(name: str) -> str:
    """Returns the form in which state names are compared: ``In Progress``, ``IN_PROGRESS``, ``InProgress`` are one."""
    return re.sub(r"[\s_-]+", "", name).lower()


DEFAULT_STATES: Final = {
    normalized_state_name(name): state for state, names in _DEFAULT_STATE_NAMES.items() for name in names.split()
}
"""States by their usual names."""


class ValueSource(BaseModel):
    """The source of a value: exactly one of these fields. In the file, plain text stands for a column."""

    model_config = ConfigDict(frozen=True)

    column: Text | None = None
    sql: Text | None = None
    """An expression over the columns of the table."""
    constant: Text | None = None

    @model_validator(mode="after")
    def _has_one_source(self) -> Self:
        if sum(source is not None for source in (self.column, self.sql, self.constant)) != 1:
            raise ValueError("needs exactly one of column, sql, constant")
        return self


def _expanded(value: Any) -> Any:
    return {"column": value} if isinstance(value, str) else value


def _as_list(value: Any) -> Any:
    return value if isinstance(value, list) else [value]


def _state_names(value: Any) -> Any:
    """Accepts numbers and booleans as names of states; PostgreSQL writes booleans like YAML does."""
    return [str(name).lower() if isinstance(name, int) else name for name in _as_list(value)]


From = Annotated[ValueSource, BeforeValidator(_expanded)]


class Columns(BaseModel):
    """The values of a row."""

    id: From
    """The saga's id."""
    name: From | None = None
    """The saga type."""
    run: From | None = None
    step: From | None = None
    step_key: From | None = None
    """Distinguishes intended repetitions of a step."""
    state: From | None = None
    """Without it, a row is in flight until `ended` is set."""
    attempt: From | None = None
    max_attempts: From | None = None
    retry_at: From | None = None
    timeout: From | None = None
    """Seconds: of the attempt, or of the saga if the row has no step."""
    error: From | None = None
    error_type: From | None = None
    started: From | None = None
    changed: From | None = None
    """The time of the last update."""
    ended: From | None = None
    compensates: From | None = None
    """The step that this one compensates. A row in which it is set describes a compensation."""
    earlier: From | None = None
    """The steps of the saga before this one, as a JSON array of [name, whether it succeeded]: by their names and its
    own, a row without `compensates` is a compensation, too."""
    idempotency_key: From | None = None
    amount: From | None = None
    currency: From | None = None
    service: From | None = None

    def sources(self) -> Iterator[tuple[str, ValueSource]]:
        """Yields the values that have a source."""
        for name in type(self).model_fields:
            if isinstance(source := getattr(self, name), ValueSource):
                yield name, source


class Cursor(BaseModel):
    """The column by which new and updated rows are found."""

    column: Text
    overlap: float = Field(30, ge=0)
    """Seconds, or units of a numeric column, that are read again: transactions can commit rows behind the cursor."""
    tracks_updates: bool = True
    """Whether the column grows when a row is updated. If not, rows in flight are read by their keys."""


def _existing_zone(name: str) -> str:
    try:
        ZoneInfo(name)
    except (KeyError, ValueError, OSError) as error:
        raise ValueError(f"{name!r} is not a time zone") from error
    return name


class Table(BaseModel):
    """A table, a view or a query."""

    table: Text | None = None
    """The name of a table or view, with its schema if needed: ``payments.sagas``."""
    query: Text | None = None
    """A SELECT in place of a table."""
    label: Text | None = None
    """The name in ids and messages; by default the table or query. Ids stay the same while it does."""
    rows: Literal["sagas", "steps"]
    """Whether a row describes a whole saga or one step."""
    key: Annotated[list[Text], BeforeValidator(_as_list), Field(min_length=1)]
    """The columns that identify a row. An index should start with them."""
    cursor: Cursor | None = None
    """Without it, only rows in flight are read, and rows that were in flight are read by their keys."""
    in_flight: Text | None = None
    """An SQL condition for rows in flight, if an index supports a better one than that on the state."""
    columns: Columns
    counts: Literal["attempts", "failures"] = "attempts"
    """Whether the column `attempt` counts started or failed attempts."""
    keys: dict[Text, From] = {}
    """Business keys."""
    optional: list[Text] = []
    """Columns that the table may lack."""
    states: dict[State, Annotated[list[str], BeforeValidator(_state_names)]] = {}
    """The names of states in the state column, in addition to `DEFAULT_STATES`."""
    compensates: dict[Text, Text] = {}
    """The step that each compensation compensates."""
    closes: dict[Text, Literal["completed", "compensated", "failed"]] = {}
    """Outcomes of a saga by the step whose success ends it, where no row describes the saga."""
    messages: bool = False
    """Whether a row is a message to publish: the error of a row in flight then blocks its saga."""
    when_deleted: Literal[State.SUCCEEDED, State.COMPENSATED, State.FAILED] = State.FAILED
    """The final state of a row that is deleted while it is in flight."""
    timezone: Annotated[str, AfterValidator(_existing_zone)] = "UTC"
    """The time zone of times that are stored without one."""

    @model_validator(mode="after")
    def _is_complete(self) -> Self:
        if (self.table is None) == (self.query is None):
            raise ValueError("needs exactly one of table, query")
        if self.columns.state is None and self.columns.ended is None:
            raise ValueError("needs columns.state or columns.ended, to know which rows are in flight")
        if self.rows == "steps" and self.columns.step is None:
            raise ValueError("columns.step is missing")
        return self

    @property
    def name(self) -> str:
        """The name in ids and messages."""
        return self.label or self.table or self.query or ""

    @property
    def state_names(self) -> dict[str, State]:
        """States by their normalized names."""
        own = {normalized_state_name(name): state for state, names in self.states.items() for name in names}
        return {**DEFAULT_STATES, **own}


class Mapping(BaseModel):
    """The content of a mapping file."""

    tables: Annotated[list[Table], Field(min_length=1)]

    @model_validator(mode="after")
    def _has_distinct_tables(self) -> Self:
        if len({table.name for table in self.tables}) < len(self.tables):
            raise ValueError("contains one table twice")
        return self


_BUILT_IN: Final = files("sagascope_collector.bridges.tables").joinpath("mappings")


def built_in_mappings() -> list[str]:
    """Returns the names of the mappings that Sagascope provides."""
    return sorted(file.name.removesuffix(".yaml") for file in _BUILT_IN.iterdir() if file.name.endswith(".yaml"))


def read_mapping(name: str) -> Mapping:
    """Reads the built-in mapping of this name, else the file with this path.

    Raises:
        BadRules: the file cannot be read or is invalid.
    """
    if name in built_in_mappings():
        with as_file(_BUILT_IN.joinpath(f"{name}.yaml")) as path:
            return config_file.read(path, Mapping)
    if not Path(name).exists():
        known = ", ".join(built_in_mappings())
        raise BadRules(f"{name} is neither a file nor a built-in mapping. Built-in mappings: {known}.")
    return config_file.read(Path(name), Mapping)
