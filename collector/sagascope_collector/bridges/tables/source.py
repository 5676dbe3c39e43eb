"""Polls the tables of a database: scans each table for changes, saves them in the checkpoint, and reports them."""

from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Final, Self

import psycopg

from sagascope_collector.bridges.bridge import PollResult
from sagascope_collector.bridges.otlp import Telemetry
from sagascope_collector.bridges.postgres import CONNECTION_OPTIONS, first_line
from sagascope_collector.bridges.tables.mapping import FINAL_STATES, Mapping, State, Table
from sagascope_collector.bridges.tables.queries import PAGE_ROWS, FoundRow, TableQueries
from sagascope_collector.bridges.tables.rows import Change, Checkpoint, OpenRow, Row, TableCheckpoint
from sagascope_collector.bridges.tables.transitions import TableTelemetry, has_started, transition
from sagascope_collector.durations import NANOSECONDS_PER_SECOND
from sagascope_collector.errors import BadValue, SourceUnavailable
from sagascope_collector.postgres_dsn import dsn_parameters

SESSION_OPTIONS: Final = f"{CONNECTION_OPTIONS['options']} -c timezone=UTC -c datestyle=ISO"
"""Times are parsed in the format that these settings give."""

MAX_PAGES: Final = 10
"""The number of queries for changed rows in one poll, and of queries for rows by key."""

MAX_OPEN_ROWS: Final = 50_000
"""The number of rows in flight that are followed in one table."""

SETTLED_AFTER_SECONDS: Final = 30.0
"""Transactions that started before the last row was read have ended after this time, or after a longer overlap."""

SEARCH_INTERVAL_SECONDS: Final = 60.0
"""Time between two searches for rows in flight that the cursor did not lead to."""

ROW_DELETED: Final = "The row was deleted."


class TablesSource:
    """Polls the tables of one database on one connection. A context manager; implements `bridges.Source`.

    Changes are reported in two polls: the first one saves them in the checkpoint, the second one reports them. If the
    bridge stops in between, it reports them again, even if the rows have changed meanwhile.

    Args:
        dsn: a URL or key-value pairs as in libpq; never logged.
        mapping: describes the tables.
        environment: the environment of the reported sagas.
        history: whether to report rows that had ended before the first poll.

    Raises:
        BadValue: the DSN is invalid.
    """

    def __init__(self, dsn: str, mapping: Mapping, *, environment: str = "", history: bool = False) -> None:
        self._dsn = dsn
        # the options of the DSN, such as its search path, precede
        self._session_options = f"{dsn_parameters(dsn, '--dsn').get('options', '')} {SESSION_OPTIONS}".strip()
        self._tables = mapping.tables
        self._environment = environment
        self._history = history
        self._connection: psycopg.Connection[Any] | None = None
        self._queries: dict[str, TableQueries] = {}
        self._errors: list[str] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._disconnect()

    def poll(self, checkpoint: Checkpoint, now: int) -> PollResult[Checkpoint]:
        """Scans all tables, or reports the changes of the previous scan. A failing table does not delay the others.

        Raises:
            BadValue: the checkpoint belongs to another database.
            SourceUnavailable: the database does not respond.
        """
        connection = self._connect()
        database = connection.info.dbname
        if checkpoint.database not in ("", database):
            text = f"The cursor file belongs to the database {checkpoint.database}, not to {database}."
            raise BadValue(f"{text} Name another file with --cursor.")
        if any(table.changes for table in checkpoint.tables.values()):
            return self._report(database, checkpoint)
        tables = dict[str, TableCheckpoint]()
        self._errors = []
        for table in self._tables:
            before = checkpoint.tables.get(table.name, TableCheckpoint())
            tables[table.name], error = self._scan(connection, table, before, now)
            self._errors += [error] if error else []
        return self._result(database, Telemetry(), tables)

    def _scan(
        self, connection: psycopg.Connection[Any], table: Table, before: TableCheckpoint, now: int
    ) -> tuple[TableCheckpoint, str]:
        """Scans a table; returns its next checkpoint and an error message, which may be empty."""
        scan = _TableScan(table, before, now)
        try:
            if table.name not in self._queries:
                self._queries[table.name] = TableQueries(connection, table)
            scan.run(self._queries[table.name], history=self._history)
        except psycopg.Error as error:
            self._queries.pop(table.name, None)
            if connection.closed:
                self._disconnect()
            return before, f"{table.name} cannot be read: {first_line(error)}."
        return scan.checkpoint, scan.error

    def _report(self, database: str, checkpoint: Checkpoint) -> PollResult[Checkpoint]:
        telemetry = Telemetry()
        for table in self._tables:
            builder = TableTelemetry(database, table, self._environment)
            for change in checkpoint.tables.get(table.name, TableCheckpoint()).changes:
                reported = transition(table, change.before, change.row, is_first=change.is_first)
                builder.add(change.key, reported, telemetry)
        tables = {name: each.model_copy(update={"changes": []}) for name, each in checkpoint.tables.items()}
        return self._result(database, telemetry, tables)

    def _result(
        self, database: str, telemetry: Telemetry, tables: dict[str, TableCheckpoint]
    ) -> PollResult[Checkpoint]:
        in_flight = sum(len(table.open_rows) for table in tables.values())
        has_changes = any(table.changes for table in tables.values())
        is_behind = has_changes or any(table.scan_after for table in tables.values())
        checkpoint = Checkpoint(database=database, tables=tables)
        errors = " ".join(self._errors)
        return PollResult(telemetry, checkpoint, in_flight, errors, is_behind=is_behind, poll_again=has_changes)

    def _connect(self) -> psycopg.Connection[Any]:
        if self._connection is None:
            options = {**CONNECTION_OPTIONS, "options": self._session_options}
            try:
                self._connection = psycopg.connect(self._dsn, autocommit=True, **options)
            except psycopg.Error as error:
                raise SourceUnavailable(f"The database does not respond: {first_line(error)}.") from error
        return self._connection

    def _disconnect(self) -> None:
        """Closes the connection; the next poll opens another one."""
        self._queries.clear()
        if self._connection is not None:
            self._connection.close()
        self._connection = None


class _TableScan:
    """One poll of one table. `checkpoint` holds its changes and the position for the next poll."""

    def __init__(self, table: Table, before: TableCheckpoint, now: int) -> None:
        self._table = table
        self._now = now
        self._has_too_many_open_rows = False
        self._has_duplicate_keys = False
        self._has_rows_without_cursor = False
        copied = {"open_rows": dict(before.open_rows), "changes": [], "current_hashes": dict(before.current_hashes)}
        copied["cursors"] = dict(before.cursors)
        self.checkpoint = before.model_copy(update=copied)

    @property
    def error(self) -> str:
        """The parts that could not be followed; may be empty."""
        name = self._table.name
        if self._has_duplicate_keys:
            return f"{name} has several rows with one key: {', '.join(self._table.key)} does not identify a row."
        if self._has_too_many_open_rows:
            return f"{name} has more than {MAX_OPEN_ROWS:,} rows in flight; the bridge does not follow the others."
        cursor = self._table.cursor
        if cursor and self._has_rows_without_cursor:
            text = f"{name} has rows in flight without a value of the cursor {cursor.column}: new ones are not read."
            return f"{text} Use a column that has a value from the insertion on, or omit the cursor."
        if cursor and self.checkpoint.has_wrong_cursor:
            text = f"{name} has rows that changed, but their cursor {cursor.column} did not: changes may be missed."
            return f"{text} Use a column that grows with every update, or set tracks_updates: false."
        if cursor and self.checkpoint.has_hidden_rows:
            text = (
                f"{name} has rows in flight whose cursor {cursor.column} is older than that of rows read before them."
            )
            return f"{text} Use a column that grows with every insertion and update, or a longer overlap."
        return ""

    def run(self, queries: TableQueries, *, history: bool) -> None:
        """Reads the next pages. Afterwards it reads rows in flight by key, which the pages did not contain.

        Raises:
            psycopg.Error: a query failed; `checkpoint` is incomplete.
        """
        if not self.checkpoint.scan_after:
            self._start_scan(queries, history=history)
        has_finished = self._read_pages(queries)
        open_keys = self.checkpoint.open_rows.keys()
        if self._table.cursor:
            pages = 1 if self._table.cursor.tracks_updates else MAX_PAGES
            self._read_by_key(queries, open_keys, pages * PAGE_ROWS)
            if has_finished:
                self._search_hidden_rows(queries)
        elif has_finished:
            self._read_by_key(queries, open_keys - self.checkpoint.previous_hashes.keys(), MAX_PAGES * PAGE_ROWS)

    def _start_scan(self, queries: TableQueries, *, history: bool) -> None:
        checkpoint = self.checkpoint
        checkpoint.current_hashes, checkpoint.scan_started_at = {}, self._now
        if self._table.cursor is None:
            return
        if checkpoint.is_initialized:
            self._has_rows_without_cursor = queries.has_rows_without_cursor()
            checkpoint.scan_after = checkpoint.last_row if checkpoint.is_settled else []
        elif history:
            checkpoint.is_initialized = True
        else:
            checkpoint.cursor_value, checkpoint.cursor_seen_at = queries.last_cursor_value(), self._now

    def _read_pages(self, queries: TableQueries) -> bool:
        """Reads up to `MAX_PAGES` pages; returns whether the scan has finished."""
        for _ in range(MAX_PAGES):
            found = self._next_page(queries)
            self._process(found)
            if found:
                self.checkpoint.scan_after = found[-1].position
            if len(found) < PAGE_ROWS:
                self._finish_scan()
                return True
        return False

    def _next_page(self, queries: TableQueries) -> list[FoundRow]:
        checkpoint = self.checkpoint
        if self._table.cursor is None or not checkpoint.is_initialized:
            return queries.rows_in_flight(checkpoint.scan_after)
        return queries.changed_rows(checkpoint.cursor_value, checkpoint.scan_after)

    def _finish_scan(self) -> None:
        checkpoint = self.checkpoint
        if self._table.cursor and checkpoint.is_initialized:
            self._move_cursor(self._table.cursor.overlap)
        checkpoint.is_initialized, checkpoint.scan_after = True, []
        checkpoint.previous_hashes, checkpoint.current_hashes = checkpoint.current_hashes, {}

    def _move_cursor(self, overlap: float) -> None:
        """Moves the cursor to the last row. The overlap is read again while rows can still be committed in it."""
        checkpoint, last = self.checkpoint, self.checkpoint.scan_after
        if last and last != checkpoint.last_row:
            checkpoint.cursor_value, checkpoint.last_row, checkpoint.cursor_seen_at = last[0], last, self._now
        wait_ns = max(overlap, SETTLED_AFTER_SECONDS) * NANOSECONDS_PER_SECOND
        checkpoint.is_settled = checkpoint.scan_started_at >= checkpoint.cursor_seen_at + wait_ns

    def _read_by_key(self, queries: TableQueries, keys: Iterable[str], limit: int) -> None:
        """Reads rows in flight by their keys, `limit` in one poll: the deletion of a row does not move a cursor."""
        remaining = sorted(key for key in keys if key > self.checkpoint.checked_key)
        checked = remaining[:limit]
        self.checkpoint.checked_key = checked[-1] if len(checked) < len(remaining) else ""
        for page in _pages(checked):
            found = queries.rows_by_key(page)
            self._process(found, keep_hashes=False)
            for key in set(page).difference(row.key for row in found):
                self._add_change(key, self._deleted(self.checkpoint.open_rows[key].row))

    def _search_hidden_rows(self, queries: TableQueries) -> None:
        """Reads rows in flight that the cursor did not lead to, one page in a minute: it is wrong, or came too late."""
        checkpoint = self.checkpoint
        is_due = self._now >= checkpoint.searched_at + SEARCH_INTERVAL_SECONDS * NANOSECONDS_PER_SECOND
        if not (is_due and checkpoint.is_checkable and checkpoint.is_settled and checkpoint.cursor_value is not None):
            return
        checkpoint.searched_at = self._now
        try:
            found = queries.rows_behind(checkpoint.cursor_value, checkpoint.searched_until)
        except psycopg.errors.QueryCanceled:  # no index leads to rows in flight: each search would time out
            checkpoint.is_checkable = False
            return
        keys = len(self._table.key)
        checkpoint.searched_until = found[-1].position[-keys:] if len(found) == PAGE_ROWS else []
        known = {*checkpoint.open_rows, *(change.key for change in checkpoint.changes)}
        hidden = [each for each in found if each.key not in known and each.row and has_started(self._table, each.row)]
        if hidden and len(known) < MAX_OPEN_ROWS:
            checkpoint.has_hidden_rows = True
            self._process(hidden, keep_hashes=False)

    def _process(self, found: Sequence[FoundRow], *, keep_hashes: bool = True) -> None:
        rows = {each.key: each for each in found}
        self._has_duplicate_keys = self._has_duplicate_keys or len(rows) < len(found)
        previous, current = self.checkpoint.previous_hashes, self.checkpoint.current_hashes
        for each in rows.values():
            is_unchanged = each.hash in (previous.get(each.key), current.get(each.key))
            self._check_cursor(each)
            is_done = each.row is None or is_unchanged or self._add_change(each.key, each.row)
            if is_done and keep_hashes:
                current[each.key] = each.hash

    def _check_cursor(self, found: FoundRow) -> None:
        """Notes a row in flight that changed long after its cursor did, although the mapping says that it grows.

        Within the overlap, rows are read again: updates may share a cursor of low resolution.
        """
        cursor, checkpoint = self._table.cursor, self.checkpoint
        if cursor is None or not cursor.tracks_updates or found.key not in checkpoint.open_rows:
            return
        value, seen_at, hash_ = checkpoint.cursors.get(found.key, ("", 0, 0))
        if value != found.position[0]:
            checkpoint.cursors[found.key] = found.position[0], self._now, found.hash
        elif hash_ != found.hash and self._now > seen_at + SETTLED_AFTER_SECONDS * NANOSECONDS_PER_SECOND:
            checkpoint.has_wrong_cursor = True

    def _deleted(self, row: Row) -> Row:
        """Returns the final state of a row that was deleted."""
        state = self._table.when_deleted
        error = ROW_DELETED if state is State.FAILED else ""
        return row.model_copy(update={"state": state, "changed": self._now, "ended": self._now, "error": error})

    def _add_change(self, key: str, row: Row) -> bool:
        """Adds a change of a row; returns False if the row cannot be followed because there are too many."""
        before = self.checkpoint.open_rows.get(key)
        if before and before.row == row.changed_by(before.row.changed):
            return True
        if before is None and not has_started(self._table, row):
            return True
        if before is None and row.state not in FINAL_STATES and len(self.checkpoint.open_rows) >= MAX_OPEN_ROWS:
            self._has_too_many_open_rows = True
            return False
        row = row.changed_by(row.ended or self._now)
        change = Change(key=key, row=row, before=before, is_first=not self.checkpoint.is_initialized)
        self.checkpoint.changes.append(change)
        self._keep(key, transition(self._table, before, row, is_first=change.is_first).after)
        return True

    def _keep(self, key: str, after: OpenRow | None) -> None:
        if after:
            self.checkpoint.open_rows[key] = after
        else:
            self.checkpoint.open_rows.pop(key, None)
            self.checkpoint.cursors.pop(key, None)


def _pages(keys: Sequence[str]) -> Iterator[Sequence[str]]:
    return (keys[first : first + PAGE_ROWS] for first in range(0, len(keys), PAGE_ROWS))
