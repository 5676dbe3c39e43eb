"""What the columns of a table mean: the file behind ``--mapping``."""

from collections.abc import Iterator
from importlib.resources import as_file, files
from pathlib import Path
from typing import Annotated, Any, Final, Literal, Self
from zoneinfo import ZoneInfo

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, model_validator

from sagascope_collector import config_file
from sagascope_collector.bridges.tables.states import USUAL, State, compared
from sagascope_collector.errors import BadRules

Text = Annotated[str, Field(min_length=1)]


class Source(BaseModel):
    """Where a value comes from: exactly one of these. A text alone is a column's name."""

    model_config = ConfigDict(frozen=True)

    column: Text | None = None
    sql: Text | None = None
    """An expression over the columns of the table."""
    constant: Text | None = None

    @model_validator(mode="after")
    def _one(self) -> Self:
        if sum(each is not None for each in (self.column, self.sql, self.constant)) != 1:
            raise ValueError("says exactly one of column, sql, constant")
        return self


def _source(value: Any) -> Any:
    return {"column": value} if isinstance(value, str) else value


def _several(value: Any) -> Any:
    return value if isinstance(value, list) else [value]


def _words(value: Any) -> Any:
    """States may be numbers, or true and false, which PostgreSQL writes like YAML."""
    return [str(each).lower() if isinstance(each, int) else each for each in _several(value)]


From = Annotated[Source, BeforeValidator(_source)]


class Columns(BaseModel):
    """What a row says, by meaning."""

    id: From
    """The saga's id."""
    name: From | None = None
    run: From | None = None
    step: From | None = None
    step_key: From | None = None
    """Tells intended repetitions of a step apart."""
    state: From | None = None
    """Absent: in flight until `ended` is set."""
    attempt: From | None = None
    max_attempts: From | None = None
    retry_at: From | None = None
    timeout: From | None = None
    """Seconds that the attempt, or of a row without a step the saga, may take."""
    error: From | None = None
    error_type: From | None = None
    started: From | None = None
    changed: From | None = None
    """When the row moved last."""
    ended: From | None = None
    compensates: From | None = None
    """The step that this one undoes; a row in which it is set tells of a compensation."""
    idempotency_key: From | None = None
    amount: From | None = None
    currency: From | None = None
    service: From | None = None

    def said(self) -> Iterator[tuple[str, Source]]:
        """The meanings that have a source."""
        for name in type(self).model_fields:
            if isinstance(source := getattr(self, name), Source):
                yield name, source


class Cursor(BaseModel):
    """The column by which rows that are new, or have moved, are found."""

    column: Text
    overlap: float = Field(30, ge=0)
    """Seconds of a time, or numbers, that are read again: a transaction that commits late writes behind the cursor."""
    moves: bool = True
    """Whether it grows when a row changes. If not, rows in flight are asked for by their key."""


def _zone(name: str) -> str:
    try:
        ZoneInfo(name)
    except (KeyError, ValueError, OSError) as error:
        raise ValueError(f"{name!r} is no time zone") from error
    return name


class Table(BaseModel):
    """One table or view, or a query in its place."""

    table: Text | None = None
    """Its name, if need be with its schema: ``payments.sagas``."""
    query: Text | None = None
    called: Text | None = None
    """What it is called in ids and messages, if not as the table: ids stay the same as long as this does."""
    holds: Literal["sagas", "steps"]
    """Whether a row stands for a saga as a whole, or for one step."""
    key: Annotated[list[Text], BeforeValidator(_several), Field(min_length=1)]
    """The columns that tell rows apart; an index should begin with them."""
    cursor: Cursor | None = None
    """Absent: only rows in flight are read, and those that were are asked for by their key."""
    in_flight: Text | None = None
    """An SQL condition that finds rows in flight, where one that an index knows is better than that on the state."""
    columns: Columns
    counts: Literal["attempts", "failures"] = "attempts"
    """Whether the column `attempt` counts attempts that began, or those that failed."""
    keys: dict[Text, From] = {}
    """Business keys."""
    optional: list[Text] = []
    """Columns that the table may lack; what they would say is left out then."""
    states: dict[State, Annotated[list[str], BeforeValidator(_words)]] = {}
    """The words of the state column. Those that are not named are read as they usually are meant."""
    undoes: dict[Text, Text] = {}
    """Compensations, and the steps that they undo."""
    closes: dict[Text, Literal["completed", "compensated", "failed"]] = {}
    """Steps whose success ends their saga, and how, where no row stands for sagas."""
    gone: Literal[State.SUCCEEDED, State.COMPENSATED, State.FAILED] = State.FAILED
    """What became of a row that was in flight and is there no more."""
    timezone: Annotated[str, AfterValidator(_zone)] = "UTC"
    """Of times that are stored without one."""

    @model_validator(mode="after")
    def _can_be_meant(self) -> Self:
        if (self.table is None) == (self.query is None):
            raise ValueError("says exactly one of table, query")
        if self.columns.state is None and self.columns.ended is None:
            raise ValueError("columns.state is missing, or columns.ended: nothing tells what is in flight")
        if self.holds == "steps" and self.columns.step is None:
            raise ValueError("columns.step is missing")
        return self

    @property
    def label(self) -> str:
        """What it is called."""
        return self.called or self.table or self.query or ""

    @property
    def words(self) -> dict[str, State]:
        """States by their words, in lower case."""
        said = {compared(word): state for state, words in self.states.items() for word in words}
        return {**USUAL, **said}


class Mapping(BaseModel):
    """The whole file."""

    tables: Annotated[list[Table], Field(min_length=1)]

    @model_validator(mode="after")
    def _told_apart(self) -> Self:
        if len({each.label for each in self.tables}) < len(self.tables):
            raise ValueError("one table stands here twice")
        return self


_READY: Final = files("sagascope_collector.bridges.tables").joinpath("mappings")


def ready() -> list[str]:
    """The names of the mappings that come with Sagascope."""
    return sorted(each.name.removesuffix(".yaml") for each in _READY.iterdir() if each.name.endswith(".yaml"))


def read_mapping(name: str) -> Mapping:
    """A mapping that comes with Sagascope, by its name, or else the file of that path.

    Raises:
        BadRules: the file cannot be read, or says what cannot be meant.
    """
    if name in ready():
        with as_file(_READY.joinpath(f"{name}.yaml")) as path:
            return config_file.read(path, Mapping)
    if not Path(name).exists():
        raise BadRules(f"There is no file {name}, and no mapping of that name: {', '.join(ready())}.")
    return config_file.read(Path(name), Mapping)
