"""What a bridge remembers of tables: how far each was read, and the rows in flight as they were told."""

from pydantic import BaseModel, ConfigDict, Field

from sagascope_collector.bridges.tables.rows import Row


class Try(BaseModel):
    """An attempt. Times are nanoseconds since 1970."""

    model_config = ConfigDict(frozen=True)

    step: str
    step_key: str
    type: str
    compensates: str
    number: int
    since: int
    repetition: int = 1
    """How often the row has come to this step, or back to it after it was done."""
    is_over: bool = False
    """It failed, and was told; the row waits for the next."""

    def is_of(self, other: "Try") -> bool:
        """Whether both are tries of one step."""
        return (self.step, self.step_key, self.type) == (other.step, other.step_key, other.type)


class Open(BaseModel):
    """A row in flight."""

    model_config = ConfigDict(frozen=True)

    row: Row
    since: int
    """When the saga, or the step, began."""
    attempt: Try | None = None
    is_undoing: bool = False
    """Whether a compensation was seen."""
    done: tuple[tuple[str, str], ...] = ()
    """Steps, with their keys, that were told to have been done; a step that was done twice stands here twice."""


class Pending(BaseModel):
    """A row that has moved, which is being told."""

    model_config = ConfigDict(frozen=True)

    key: str
    row: Row
    before: Open | None = None
    is_first: bool = False
    """Whether nothing can have been told of it."""


class TablePlace(BaseModel):
    """How far one table was read. Keys are the columns of a row's key, as JSON."""

    has_begun: bool = False
    """Whether all rows that were in flight at the first look were read."""
    at: str | None = None
    """The greatest value of the cursor, as PostgreSQL writes it; None: read from the beginning."""
    at_since: int = 0
    """When `at` was met first, on the bridge's clock."""
    last: list[str] = []
    """The last row by cursor and key."""
    is_settled: bool = False
    """Whether nothing can be committed any more behind `last`: what was read need not be read again."""
    begun: int = 0
    """When the reading that is under way began, on the bridge's clock."""
    after: list[str] = []
    """Where it goes on: the last row's cursor, if the table has one, and key."""
    asked: str = ""
    """The last key that was asked for."""
    open: dict[str, Open] = {}
    pending: list[Pending] = []
    """Moves that are kept before they are told: whatever a crash leaves half told is told again."""
    recent: dict[str, int] = Field(default={}, exclude=True)
    """What the rows of the last reading said, as a hash: what says the same is not told again."""
    reading: dict[str, int] = Field(default={}, exclude=True)
    """Those of the reading that is under way."""


class Place(BaseModel):
    """How far all tables were read."""

    model_config = ConfigDict(extra="forbid")

    database: str = ""
    """Whose rows these are: those of another would be taken for gone."""
    tables: dict[str, TablePlace] = {}
