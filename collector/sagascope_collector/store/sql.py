"""The statements that the store runs: one `.sql` file each, in `queries/`."""

from enum import StrEnum
from functools import cache
from importlib.resources import files

import duckdb

from sagascope_collector.errors import CannotStart


class Query(StrEnum):
    """Every statement, by the name of its file."""

    AGE_STEP_COUNTS = "age_step_counts"
    AGE_STEP_TIMES = "age_step_times"
    ATTACH_COPY = "attach_copy"
    CHECKPOINT = "checkpoint"
    CLEAR_FORGETTING = "clear_forgetting"
    CLEAR_NOTES = "clear_notes"
    CLEAR_NOTIFICATIONS = "clear_notifications"
    CLEAR_PENDING = "clear_pending"
    COPY_DATABASE = "copy_database"
    COUNT_COURSES = "count_courses"
    COUNT_FLOWS = "count_flows"
    COUNT_FRONTIERS = "count_frontiers"
    COUNT_MOVED = "count_moved"
    COUNT_NOTIFICATIONS = "count_notifications"
    COUNT_SAGAS = "count_sagas"
    COUNT_SHELF = "count_shelf"
    COUNT_SHELF_COURSES = "count_shelf_courses"
    COUNT_STANDING = "count_standing"
    CREATE_MIGRATIONS = "create_migrations"
    DELETE_AGED_STEP_COUNTS = "delete_aged_step_counts"
    DELETE_AGED_STEP_TIMES = "delete_aged_step_times"
    DELETE_CHUNKS = "delete_chunks"
    DELETE_EXPIRED = "delete_expired"
    DELETE_INCIDENT_MEMBERS = "delete_incident_members"
    DELETE_LESSONS = "delete_lessons"
    DELETE_LESSONS_OF_IDS = "delete_lessons_of_ids"
    DELETE_MEMBERS_OF_IDS = "delete_members_of_ids"
    DELETE_PENDING = "delete_pending"
    DELETE_SAGAS = "delete_sagas"
    DELETE_SHELF_FLOWS = "delete_shelf_flows"
    DELETE_SHELF_GONE = "delete_shelf_gone"
    DELETE_SHELVES = "delete_shelves"
    DELETE_STAKES = "delete_stakes"
    DELETE_STANDING = "delete_standing"
    DETACH_COPY = "detach_copy"
    GROUP_STANDING = "group_standing"
    INSERT_BACKUP = "insert_backup"
    INSERT_CHUNKS = "insert_chunks"
    INSERT_EXPIRED = "insert_expired"
    INSERT_FORGETTING = "insert_forgetting"
    INSERT_INCIDENT_CHANGES = "insert_incident_changes"
    INSERT_INCIDENT_MEMBERS = "insert_incident_members"
    INSERT_LESSONS = "insert_lessons"
    INSERT_MIGRATION = "insert_migration"
    INSERT_NOTIFICATIONS = "insert_notifications"
    INSERT_PENDING = "insert_pending"
    INSERT_RUN = "insert_run"
    INSERT_SAGAS = "insert_sagas"
    INSERT_SHELF_FLOWS = "insert_shelf_flows"
    INSERT_SHELF_GONE = "insert_shelf_gone"
    INSERT_SHELVES = "insert_shelves"
    INSERT_STAKES = "insert_stakes"
    INSERT_STANDING = "insert_standing"
    KEEP_FOOTERS = "keep_footers"
    MERGE_LINKS = "merge_links"
    MERGE_LINKS_OF_SPANS = "merge_links_of_spans"
    MERGE_LOGS = "merge_logs"
    MERGE_SHELVES = "merge_shelves"
    MERGE_SPANS = "merge_spans"
    MERGE_SPANS_UNLINKED = "merge_spans_unlinked"
    ORDER_SAGAS = "order_sagas"
    ORDER_SHELVES = "order_shelves"
    PRUNE_LESSONS = "prune_lessons"
    PUT_ALERTS_TOLD = "put_alerts_told"
    PUT_DEAFNESS = "put_deafness"
    PUT_INCIDENTS = "put_incidents"
    PUT_INSTANCES = "put_instances"
    PUT_RUNNERS = "put_runners"
    PUT_STEP_COUNTS = "put_step_counts"
    PUT_STEP_TIMES = "put_step_times"
    ROLL_UP_TRIES = "roll_up_tries"
    SEARCH_SAGAS = "search_sagas"
    SEARCH_SHELF = "search_shelf"
    SELECT_ALERTS_TOLD = "select_alerts_told"
    SELECT_BACKUPS = "select_backups"
    SELECT_CHUNKS = "select_chunks"
    SELECT_DEAF = "select_deaf"
    SELECT_DUE = "select_due"
    SELECT_EXPIRED = "select_expired"
    SELECT_FORGETTING = "select_forgetting"
    SELECT_INCIDENT_CHANGES = "select_incident_changes"
    SELECT_INCIDENTS = "select_incidents"
    SELECT_INCIDENTS_OF_IDS = "select_incidents_of_ids"
    SELECT_INSTANCES = "select_instances"
    SELECT_LESSONS = "select_lessons"
    SELECT_LINKING_SPANS = "select_linking_spans"
    SELECT_LINKS_BETWEEN = "select_links_between"
    SELECT_LOGS_BETWEEN = "select_logs_between"
    SELECT_MIGRATIONS = "select_migrations"
    SELECT_NAME = "select_name"
    SELECT_NOTIFICATIONS = "select_notifications"
    SELECT_OVER = "select_over"
    SELECT_OWNERS = "select_owners"
    SELECT_PENDING = "select_pending"
    SELECT_RESTING = "select_resting"
    SELECT_RESTING_ROWS = "select_resting_rows"
    SELECT_RUNNERS = "select_runners"
    SELECT_SAGAS = "select_sagas"
    SELECT_SAGAS_OF_IDS = "select_sagas_of_ids"
    SELECT_SAGAS_OF_INCIDENT = "select_sagas_of_incident"
    SELECT_SEALED = "select_sealed"
    SELECT_SEALED_OF_ONE = "select_sealed_of_one"
    SELECT_SEALED_OWNERS = "select_sealed_owners"
    SELECT_SEALED_SAGAS = "select_sealed_sagas"
    SELECT_SEALED_SAGAS_BY_SPAN = "select_sealed_sagas_by_span"
    SELECT_SEALED_SAGAS_BY_TRACE = "select_sealed_sagas_by_trace"
    SELECT_SEALED_SPANS_BY_ID = "select_sealed_spans_by_id"
    SELECT_SHELF = "select_shelf"
    SELECT_SHELF_FLOWS = "select_shelf_flows"
    SELECT_SHELF_GONE = "select_shelf_gone"
    SELECT_SHELF_PAGE = "select_shelf_page"
    SELECT_SHELF_ROWS = "select_shelf_rows"
    SELECT_SHELVES = "select_shelves"
    SELECT_SHRUNK = "select_shrunk"
    SELECT_SHRUNK_BEFORE = "select_shrunk_before"
    SELECT_SHRUNK_OF_SHELF = "select_shrunk_of_shelf"
    SELECT_SPANS_BETWEEN = "select_spans_between"
    SELECT_STATE = "select_state"
    SELECT_STEP_COUNTS = "select_step_counts"
    SELECT_STEP_TIMES = "select_step_times"
    SELECT_TABLES = "select_tables"
    SUM_STAKES = "sum_stakes"
    TAKE_FROM_SHELF_FLOWS = "take_from_shelf_flows"
    UPDATE_NOTIFICATION_DELIVERED = "update_notification_delivered"
    UPDATE_NOTIFICATION_FAILED = "update_notification_failed"
    UPDATE_RUN_ALIVE = "update_run_alive"
    UPDATE_RUN_STOPPED = "update_run_stopped"
    UPDATE_SHRUNK_BEFORE = "update_shrunk_before"
    UPDATE_STATE = "update_state"
    UPDATE_STATE_BEGUN = "update_state_begun"
    UPDATE_STATE_PROJECTED = "update_state_projected"
    WRITE_SHELF = "write_shelf"

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
