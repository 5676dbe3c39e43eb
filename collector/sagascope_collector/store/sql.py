"""The statements that the store runs: one `.sql` file each, in `queries/`."""

from enum import StrEnum
from functools import cache
from importlib.resources import files

import duckdb

from sagascope_collector.errors import CannotStart


class Query(StrEnum):
    """Every statement, by the name of its file."""

    COUNT_FLOWS = "count_flows"
    COUNT_MOVED = "count_moved"
    COUNT_STANDING = "count_standing"
    CREATE_MIGRATIONS = "create_migrations"
    DELETE_INCIDENT_MEMBERS = "delete_incident_members"
    DELETE_LESSONS = "delete_lessons"
    DELETE_PENDING = "delete_pending"
    DELETE_SAGAS = "delete_sagas"
    DELETE_STAKES = "delete_stakes"
    DELETE_STANDING = "delete_standing"
    GROUP_STANDING = "group_standing"
    HAS_TRACE = "has_trace"
    INSERT_INCIDENT_CHANGES = "insert_incident_changes"
    INSERT_INCIDENT_MEMBERS = "insert_incident_members"
    INSERT_LESSONS = "insert_lessons"
    INSERT_LINKS = "insert_links"
    INSERT_LOGS = "insert_logs"
    INSERT_MIGRATION = "insert_migration"
    INSERT_PENDING = "insert_pending"
    INSERT_RUN = "insert_run"
    INSERT_SAGAS = "insert_sagas"
    INSERT_SPANS = "insert_spans"
    INSERT_STAKES = "insert_stakes"
    INSERT_STANDING = "insert_standing"
    PRUNE_LESSONS = "prune_lessons"
    PUT_DEAFNESS = "put_deafness"
    PUT_INCIDENTS = "put_incidents"
    PUT_INSTANCES = "put_instances"
    PUT_RUNNERS = "put_runners"
    SEARCH_SAGAS = "search_sagas"
    SEARCH_SPANS = "search_spans"
    SEARCH_TRACES = "search_traces"
    SELECT_CHANGED = "select_changed"
    SELECT_COUNTERS = "select_counters"
    SELECT_DEAF = "select_deaf"
    SELECT_DUE = "select_due"
    SELECT_ENVIRONMENTS = "select_environments"
    SELECT_INCIDENTS = "select_incidents"
    SELECT_INCIDENT_CHANGES = "select_incident_changes"
    SELECT_INSTANCES = "select_instances"
    SELECT_INSTANCES_OF_BATCH = "select_instances_of_batch"
    SELECT_INSTANCES_OF_SERVICES = "select_instances_of_services"
    SELECT_LESSONS = "select_lessons"
    SELECT_LINKS_OF_SAGAS = "select_links_of_sagas"
    SELECT_LOGS_OF_SAGAS = "select_logs_of_sagas"
    SELECT_MIGRATIONS = "select_migrations"
    SELECT_RUNNERS = "select_runners"
    SELECT_SAGAS = "select_sagas"
    SELECT_SAGAS_OF_INCIDENT = "select_sagas_of_incident"
    SELECT_SEQ = "select_seq"
    SELECT_SPANS_OF_LINKS = "select_spans_of_links"
    SELECT_SPANS_OF_SAGAS = "select_spans_of_sagas"
    SELECT_TABLES = "select_tables"
    SUM_STAKES = "sum_stakes"
    UPDATE_COUNTERS = "update_counters"
    UPDATE_RUN_ALIVE = "update_run_alive"
    UPDATE_RUN_STOPPED = "update_run_stopped"

    @property
    def text(self) -> str:
        """The statement."""
        return _read(self.value)


def check() -> None:
    """Make sure that every statement is there, and is one statement.

    Raises:
        CannotStart: a file is missing or holds something else; the installation is broken.
    """
    for query in Query:
        try:
            statements = duckdb.extract_statements(query.text)
        except (OSError, duckdb.Error) as error:
            raise CannotStart(f"This installation is broken: {query.value}.sql cannot be read ({error}).") from error
        if len(statements) != 1:
            raise CannotStart(f"This installation is broken: {query.value}.sql holds {len(statements)} statements.")


@cache
def _read(name: str) -> str:
    return files(__package__).joinpath("queries", f"{name}.sql").read_text(encoding="utf-8")
