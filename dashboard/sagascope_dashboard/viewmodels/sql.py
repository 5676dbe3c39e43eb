"""A result of SQL as rows of a table, as CSV and as points of a chart, and the example queries."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from math import isfinite
from pathlib import Path
from typing import Any, Final

from sagascope_collector.client import schemas
from sagascope_dashboard.formatting import epoch_ms, line, parse_time, to_decimal
from sagascope_dashboard.viewmodels.transactions import csv_of

EXAMPLES_FILE: Final = Path(__file__).parent.with_name("examples.sql")

MAX_CELL_CHARACTERS: Final = 2_000

MAX_POINTS: Final = 5_000
"""Rows that a chart shows."""

MAX_CATEGORIES: Final = 40
"""Bars that a chart shows."""

MAX_SERIES: Final = 12
"""Lines that a chart shows, those with the largest sums."""


def examples() -> dict[str, str]:
    """Returns the example queries by the question that they answer."""
    parts = re.split(r"^-- (.+)\n", EXAMPLES_FILE.read_text(encoding="utf-8"), flags=re.MULTILINE)[1:]
    views = {f"Which columns does {view} have?": f"DESCRIBE {view}" for view in ("spans", "logs", "sagas")}
    return {title: query.strip() for title, query in zip(parts[::2], parts[1::2], strict=True)} | views


def rows(result: schemas.SqlResult) -> list[dict[str, Any]]:
    """Returns the rows of a table; of columns with one name, later ones are numbered."""
    names = column_names(result.columns)
    readers = [_parsed_time if is_time(each) else _number if _is_number(each) else _text for each in result.columns]
    return [{name: read(value) for name, read, value in zip(names, readers, row, strict=True)} for row in result.rows]


def as_csv(result: schemas.SqlResult) -> str:
    """Returns a result as CSV, with times in UTC and decimals in full."""
    decimals = [_is_decimal(each) for each in result.columns]
    cells = (
        [to_decimal(value) if is_decimal and value else value for is_decimal, value in zip(decimals, row, strict=True)]
        for row in result.rows
    )
    return csv_of([each.name for each in result.columns], cells)


def column_names(columns: Sequence[schemas.SqlColumn]) -> list[str]:
    """Returns the names of columns for display; of columns with one name, later ones are numbered."""
    found: list[str] = []
    for each in columns:
        name = line(each.name, 100) or "column"
        same = sum(known == name or known.startswith(f"{name} (") for known in found)
        found.append(f"{name} ({same + 1})" if same else name)
    return found


def is_time(column: schemas.SqlColumn) -> bool:
    """Returns whether a column holds times or dates."""
    return bool(re.fullmatch(r"TIMESTAMP(_S|_MS|_NS|TZ| WITH TIME ZONE)?|DATE", column.type))


def _is_number(column: schemas.SqlColumn) -> bool:
    return bool(re.fullmatch(r"U?(TINY|SMALL|BIG|HUGE)?INT(EGER)?|DOUBLE|FLOAT", column.type)) or _is_decimal(column)


def _is_decimal(column: schemas.SqlColumn) -> bool:
    return bool(re.fullmatch(r"DECIMAL(\(\d+,\s*\d+\))?", column.type))


def _is_text(column: schemas.SqlColumn) -> bool:
    return column.type in ("VARCHAR", "BOOLEAN", "UUID") or bool(re.fullmatch(r"ENUM\(.*\)", column.type, re.DOTALL))


def _parsed_time(value: Any) -> datetime | None:
    return parse_time(value[:26].removesuffix("Z")) if isinstance(value, str) else None


def _number(value: Any) -> float | int | None:
    if isinstance(value, int | float | None):
        return value
    try:
        return float(value)
    except (TypeError, ValueError):
        return None


def _text(value: Any) -> str | bool | None:
    return value if isinstance(value, bool | None) else line(value, MAX_CELL_CHARACTERS)


@dataclass(frozen=True, slots=True)
class Point:
    """A number at a time, in milliseconds since 1970, or of a category."""

    x: float | str
    y: float
    series: str


@dataclass(frozen=True, slots=True)
class Chart:
    """What a chart of a result shows."""

    points: tuple[Point, ...]
    is_over_time: bool
    x_title: str
    note: str
    """What is left out; empty for nothing."""


def numbers(result: schemas.SqlResult) -> list[str]:
    """Returns the columns that a chart can show: of numbers, where there is a time or a text to show them by."""
    if not any(is_time(each) or _is_text(each) for each in result.columns):
        return []
    return [name for name, each in zip(column_names(result.columns), result.columns, strict=True) if _is_number(each)]


def chart(result: schemas.SqlResult, column: str) -> Chart:
    """Returns a column of numbers over the first column of times, a line for each of the texts beside it.

    Without a time, there is a bar for each row, named by its texts.
    """
    names = column_names(result.columns)
    texts = [name for name, each in zip(names, result.columns, strict=True) if _is_text(each)]
    times = [name for name, each in zip(names, result.columns, strict=True) if is_time(each)]
    shown = [
        row
        for row in rows(result)
        if row[column] is not None and isfinite(row[column]) and (not times or row[times[0]] is not None)
    ]
    labels = [", ".join(str(row[name]) for name in texts if row[name] is not None) for row in shown]
    if not times:
        points = [Point(label, row[column], "") for label, row in zip(labels, shown, strict=True)]
        note = f"The first {MAX_CATEGORIES} of {len(points):,} rows." if len(points) > MAX_CATEGORIES else ""
        return Chart(tuple(points[:MAX_CATEGORIES]), is_over_time=False, x_title=", ".join(texts), note=note)
    sums: dict[str, float] = {}
    for label, row in zip(labels, shown, strict=True):
        sums[label] = sums.get(label, 0) + abs(row[column])
    largest = set(sorted(sums, key=lambda label: -sums[label])[:MAX_SERIES])
    points = [
        Point(epoch_ms(row[times[0]]), row[column], label)
        for label, row in zip(labels, shown, strict=True)
        if label in largest
    ]
    notes = [f"The {MAX_SERIES} of {len(sums):,} lines with the largest sums."] if len(sums) > MAX_SERIES else []
    if len(points) > MAX_POINTS:
        notes.append(f"The first {MAX_POINTS:,} of {len(points):,} points.")
    note = " ".join(notes)
    return Chart(tuple(points[:MAX_POINTS]), is_over_time=True, x_title=f"{times[0]} (UTC)", note=note)
