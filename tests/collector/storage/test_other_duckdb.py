"""Chosen tests run on the other version of DuckDB too, where `make test` has installed it.

They are the cheapest that apply every migration and together execute every statement but those in `ELSEWHERE`.
"""

import os
import subprocess
import sys
from pathlib import Path

import duckdb
import pytest

from sagascope_collector.records import SagaId
from sagascope_collector.storage import Storage
from support import executed_sql
from support.otlp import log, logs, of_saga, span, traces

from .conftest import append, maintain

ROOT = Path(__file__).parents[3]
OTHER = ROOT / ".duckdb-other"
CHOSEN = {
    "api/test_search.py": ["test_words_are_searched_in_the_newest_records_when_time_is_short"],
    "projection/test_baseline_learner.py": [
        "test_nothing_is_kept_of_a_saga_that_was_erased_before_its_sample_was_taken",
        "test_what_was_learned_outlives_the_process",
    ],
    "projection/test_clean_completions.py": [
        "test_a_saga_that_spans_of_others_link_to_is_left_to_the_general_path",
        "test_the_sagas_whose_rate_is_measured_complete_cleanly",
    ],
    "projection/test_rebuild.py": ["test_the_command_reports_what_it_did"],
    "storage/test_baselines.py": ["test_a_saga_has_one_baseline_the_last_that_was_put"],
    "storage/test_downsampling.py": ["test_later_records_do_not_change_a_downsampled_saga"],
    "storage/test_erasure.py": [
        "test_bounds_that_are_read_while_a_saga_is_erased_are_forgotten",
        "test_nothing_of_an_erased_saga_is_left_in_any_file",
        "test_places_of_backups_are_remembered",
        "test_records_of_a_long_running_saga_are_erased_where_they_were_moved_to",
    ],
    "storage/test_facts.py": [
        "test_a_link_to_its_own_saga_does_not_double_a_span",
        "test_traces_and_spans_name_their_sagas_or_that_they_are_in_none",
    ],
    "storage/test_failures.py": ["test_summaries_that_could_not_be_written_leave_those_from_before"],
    "storage/test_incidents.py": [
        "test_sagas_are_listed_by_their_incident",
        "test_what_became_of_the_sagas_that_were_acknowledged",
        "test_what_is_kept_of_an_incident_replaces_what_was_before",
    ],
    "storage/test_instances.py": ["test_of_too_many_instances_the_latest_are_remembered"],
    "storage/test_long_running.py": [
        "test_a_span_without_its_saga_s_name_counts_for_the_type_of_the_summary",
        "test_records_are_moved_again_with_those_that_came_since",
        "test_statistics_count_moved_spans_once",
    ],
    "storage/test_lookup.py": ["test_of_a_saga_with_very_many_records_the_first_and_the_last_are_read"],
    "storage/test_opening.py": ["test_the_time_between_two_runs_is_an_ingest_outage"],
    "storage/test_ordering.py": [],
    "storage/test_remapping.py": [],
    "storage/test_statistics.py": [],
    "storage/test_summaries.py": [],
    "storage/test_traces.py": [
        "test_a_search_for_a_trace_finds_open_and_ended_sagas",
        "test_what_is_kept_for_ever_is_found_after_all_others_expired",
    ],
}
"""Names of tests by file; none: all of it."""

SELECTION = "not [file and not (change_nothing and not [0])"
"""Databases in memory are enough, and one order of the requests of a mapping."""

ELSEWHERE = {
    "alerts": "count_notifications select_notifications select_states "
    "update_notification_delivered update_notification_failed",
    "copies": "delete_reopened",
    "incidents": "select_failure_period",
    "listing": "select_latest_start",
    "migrations": "count_records read_table",
    "outcomes": "age_outcome_counts delete_aged_outcome_counts select_failed select_failing_types "
    "select_outcome_counts select_step_counts",
    "records": "select_logs_between",
    "runs": "put_outage",
    "sagas": "delete_recent_terms sort_recent_terms",
}
"""Statements by subject that only the tests of a whole collector execute, or that are read at the import."""

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not (OTHER / "duckdb").is_dir(), reason="`make test` installs the other DuckDB"),
]

APPEND = """
import sys
from sagascope_collector.records import SagaId
from sagascope_collector.storage import Storage
storage = Storage(sys.argv[1])
assert storage.data_loss is None
assert len(storage.lookup.facts([SagaId("", "8492")])[SagaId("", "8492")].spans) == 1
assert storage.database.rows("SELECT attributes->>'saga.id' FROM spans") == [("8492",)]
storage.database.rows("DELETE FROM log_records")
storage.close()
import duckdb
print(duckdb.__version__)
"""


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Runs Python with the other DuckDB."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST_")}
    return subprocess.run(
        [sys.executable, *arguments],
        env=kept | {"PYTHONPATH": os.pathsep.join([str(OTHER), str(ROOT / "tests")])},
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=1800,
        check=False,
    )


def test_every_statement_is_executed_on_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(executed_sql.VARIABLE, str(tmp_path / "executed"))
    chosen = [
        f"tests/collector/{file}{'::' * bool(name)}{name}" for file, names in CHOSEN.items() for name in names or [""]
    ]
    plugins = ("-p", "no:xdist", "-p", "support.executed_sql")
    done = run("-m", "pytest", "-q", "-x", *plugins, "-k", SELECTION, *chosen)
    assert done.returncode == 0, done.stdout[-5_000:] + done.stderr[-2_000:]
    executed = set((tmp_path / "executed").read_text().splitlines())
    elsewhere = {f"{subject} {name}" for subject, names in ELSEWHERE.items() for name in names.split()}
    assert executed_sql.every() - executed <= elsewhere


def test_either_version_opens_what_the_other_wrote(tmp_path: Path) -> None:
    path = str(tmp_path / "storage.duckdb")
    storage = Storage(path)
    append(storage, traces(span(1, attributes=of_saga())), logs(log("x", attributes=of_saga())))
    maintain(storage)
    storage.close()
    done = run("-c", APPEND, path)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() != duckdb.__version__
    storage = Storage(path)
    facts = storage.lookup.facts([SagaId("", "8492")])[SagaId("", "8492")]
    assert (len(facts.spans), len(facts.logs)) == (1, 0)
    storage.close()
