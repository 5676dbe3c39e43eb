"""What a bridge remembers of prepared transactions, so that it knows of those that were decided meanwhile."""

from pydantic import BaseModel, ConfigDict


class Prepared(BaseModel):
    """One transaction that is prepared, or was when it was seen last. Times are nanoseconds since 1970."""

    model_config = ConfigDict(frozen=True)

    gid: str
    xid: int
    """With all 64 bits."""
    at: int
    owner: str


class Standing(BaseModel):
    """A prepared transaction, and what was told of its locks."""

    model_config = ConfigDict(frozen=True)

    prepared: Prepared
    locks: str = ""
    told_at: int = 0


class Place(BaseModel):
    """What stood at the last look."""

    model_config = ConfigDict(extra="forbid")

    databases: dict[str, dict[int, Standing]] = {}
    """By database, and there by the transaction's id."""
    decided: dict[str, list[str]] = {}
    """How participants were decided of sagas of which others still stand."""
