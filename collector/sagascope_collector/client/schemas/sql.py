"""Queries in SQL."""

from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field

from sagascope_collector.client.schemas.base import Wire


class SqlQuery(BaseModel):
    """A query in SQL, and what its answer may take."""

    model_config = ConfigDict(extra="forbid")

    query: Annotated[str, Field(min_length=1)]
    limit: Annotated[int, Field(ge=1, le=100_000)] = 1_000
    timeout: Annotated[float, Field(gt=0, le=10)] = 10.0


class SqlColumn(Wire):
    """A column of a query's answer; its type is spelled as DuckDB does."""

    name: str
    type: str


class SqlResult(Wire):
    """What a query found: a list of values a row. `truncated`: there are more rows than these."""

    columns: list[SqlColumn]
    rows: list[list[Any]]
    truncated: bool
