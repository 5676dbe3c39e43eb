"""Keeps a database as it is before its schema changes, so that there is a way back.

The DuckDB file is copied; the facts beside it never change, and are linked. `sagascope restore` takes it as it takes a
backup.
"""

import shutil
import time
from pathlib import Path
from typing import Final

import duckdb

from sagascope_collector.errors import CannotStart
from sagascope_collector.store import home
from sagascope_collector.store.links import DATABASE, FACTS, linked
from sagascope_collector.store.opening import IN_MEMORY
from sagascope_collector.store.sql import Query

KEPT: Final = 14 * 86_400.0
"""Seconds after which it is removed, at a start: the facts that were merged meanwhile take room twice."""


def keep(connection: duckdb.DuckDBPyConnection, path: str, schema: int) -> Path | None:
    """Keep the database as it is, in place of what was kept before; where. None: it is in memory.

    Raises:
        CannotStart: there is no room for it; nothing was changed.
    """
    if path == IN_MEMORY:
        return None
    place, unfinished = _place(path, schema), Path(f"{path}.keeping")
    try:
        shutil.rmtree(unfinished, ignore_errors=True)
        facts = unfinished / FACTS
        facts.mkdir(parents=True)
        connection.execute(Query.CHECKPOINT.text)
        shutil.copyfile(path, unfinished / DATABASE)
        if (folder := home.folder_of(path)).is_dir():
            list(linked(folder, facts))
        for each in kept(path):
            shutil.rmtree(each)
        unfinished.rename(place)
    except (OSError, duckdb.Error) as error:
        shutil.rmtree(unfinished, ignore_errors=True)
        raise CannotStart(
            f"{path} is of an earlier version, and there is no room to keep it as it is before it is changed: {error}. "
            "Nothing was changed."
        ) from error
    return place


def kept(path: str) -> list[Path]:
    """What is kept of a database."""
    return sorted(Path(path).parent.glob(f"{Path(path).name}.before-*"))


def prune(path: str) -> None:
    """Remove what was kept long ago."""
    for each in kept(path):
        if time.time() - each.stat().st_mtime > KEPT:
            shutil.rmtree(each, ignore_errors=True)


def _place(path: str, schema: int) -> Path:
    return Path(f"{path}.before-{schema:04}")
