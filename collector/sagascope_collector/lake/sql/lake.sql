-- name: create_tables
-- as in the local file, but that each row has the columns of its origin
CREATE TABLE IF NOT EXISTS spans (
    received_at BIGINT, environment VARCHAR, service VARCHAR, version VARCHAR, identity VARCHAR, instance VARCHAR,
    resource VARCHAR, scope VARCHAR, trace_id BLOB, span_id BLOB, parent_id BLOB, name VARCHAR, kind VARCHAR,
    start UBIGINT, "end" UBIGINT, status VARCHAR, status_message VARCHAR, trace_state VARCHAR, flags UINTEGER,
    dropped_attributes UINTEGER, dropped_events UINTEGER, dropped_links UINTEGER, events VARCHAR, links VARCHAR,
    saga_id VARCHAR, saga_name VARCHAR, saga_run VARCHAR, saga_role VARCHAR, step_name VARCHAR, step_type VARCHAR,
    step_key VARCHAR, step_attempt BIGINT, attribute_keys VARCHAR, attribute_values VARCHAR
);
CREATE TABLE IF NOT EXISTS logs (
    received_at BIGINT, environment VARCHAR, service VARCHAR, version VARCHAR, identity VARCHAR, instance VARCHAR,
    resource VARCHAR, scope VARCHAR, "at" UBIGINT, "timestamp" UBIGINT, observed_at UBIGINT, severity INTEGER,
    severity_text VARCHAR, body VARCHAR, event_name VARCHAR, trace_id BLOB, span_id BLOB, flags UINTEGER,
    dropped_attributes UINTEGER, saga_id VARCHAR, saga_name VARCHAR, saga_run VARCHAR, saga_role VARCHAR,
    step_name VARCHAR, step_type VARCHAR, step_key VARCHAR, step_attempt BIGINT, attribute_keys VARCHAR,
    attribute_values VARCHAR
);
CREATE TABLE IF NOT EXISTS linked_spans (
    received_at BIGINT, trace_id BLOB, span_id BLOB, environment VARCHAR, saga_id VARCHAR, saga_name VARCHAR, saga_run VARCHAR,
    saga_role VARCHAR, step_name VARCHAR, step_type VARCHAR, step_key VARCHAR, step_attempt BIGINT
);

-- name: create_signs_of_life
-- in PostgreSQL itself: an idle receiver would else write a Parquet file every two seconds
CREATE TABLE IF NOT EXISTS sagascope_receivers (
    receiver TEXT PRIMARY KEY,
    seen_at TIMESTAMPTZ NOT NULL,
    committed_until TIMESTAMPTZ NOT NULL
);
CREATE TABLE IF NOT EXISTS sagascope_outages (
    receiver TEXT NOT NULL,
    started_at TIMESTAMPTZ NOT NULL,
    ended_at TIMESTAMPTZ NOT NULL
);
CREATE TABLE IF NOT EXISTS sagascope_instances (
    environment TEXT NOT NULL,
    service TEXT NOT NULL,
    identity TEXT NOT NULL,
    document TEXT NOT NULL,
    PRIMARY KEY (environment, service, identity)
)

-- name: take_lock
SELECT pg_advisory_lock(%s)

-- name: release_lock
-- whether the session still held it
SELECT pg_advisory_unlock(%s)

-- name: try_leader_lock
SELECT pg_try_advisory_lock(%s)

-- name: confirm_leader_lock
-- a session that answers still has its locks
SELECT true

-- name: insert_spans
INSERT INTO spans BY NAME FROM batch

-- name: insert_logs
INSERT INTO logs BY NAME FROM batch

-- name: insert_linked_spans
INSERT INTO linked_spans BY NAME FROM batch

-- name: put_sign_of_life
-- all times are by PostgreSQL's clock; a gap of more than five seconds is an outage of this receiver or, where the
-- receiver is new, of all
WITH now AS (SELECT clock_timestamp() AS seen_at, clock_timestamp() - make_interval(secs => %(waiting)s) AS until),
earlier AS (
    SELECT coalesce(
        (SELECT committed_until FROM sagascope_receivers WHERE receiver = %(receiver)s),
        (SELECT max(committed_until) FROM sagascope_receivers)
    ) AS until
),
outage AS (
    INSERT INTO sagascope_outages
    SELECT %(receiver)s, earlier.until, now.until FROM earlier, now
    WHERE earlier.until < now.until - interval '5 seconds'
)
INSERT INTO sagascope_receivers SELECT %(receiver)s, seen_at, until FROM now
ON CONFLICT (receiver) DO UPDATE SET
    seen_at = excluded.seen_at,
    committed_until = greatest(excluded.committed_until, sagascope_receivers.committed_until)

-- name: delete_sign_of_life
DELETE FROM sagascope_receivers WHERE receiver = %(receiver)s AND EXISTS (
    SELECT 1 FROM sagascope_receivers WHERE receiver <> %(receiver)s AND seen_at > clock_timestamp() - interval '10 seconds'
)

-- name: select_lag
-- the seconds by which the oldest live receiver lags; NULL: no receiver lives
SELECT extract(epoch FROM max(clock_timestamp() - committed_until))::float8
FROM sagascope_receivers
WHERE seen_at > clock_timestamp() - interval '10 seconds'

-- name: select_outages
SELECT (extract(epoch FROM started_at) * 1000000000)::bigint, (extract(epoch FROM ended_at) * 1000000000)::bigint
FROM sagascope_outages ORDER BY started_at

-- name: select_snapshots
-- the next snapshots, whether each appended records, and what it says of processes
SELECT snapshot_id, changes_made LIKE '%%inserted_into_table%%', coalesce(commit_extra_info, '')
FROM ducklake_snapshot_changes WHERE snapshot_id > %(after)s
ORDER BY snapshot_id LIMIT %(limit)s

-- name: select_end
-- the latest snapshot, and the next row id of each table then
WITH known AS (
    SELECT table_name, next_row_id
    FROM ducklake_table_stats JOIN ducklake_table USING (table_id) WHERE end_snapshot IS NULL
)
SELECT
    max(snapshot_id),
    coalesce((SELECT max(next_row_id) FROM known WHERE table_name = 'spans'), 0),
    coalesce((SELECT max(next_row_id) FROM known WHERE table_name = 'logs'), 0),
    coalesce((SELECT max(next_row_id) FROM known WHERE table_name = 'linked_spans'), 0)
FROM ducklake_snapshot

-- name: select_identity
SELECT table_uuid::text FROM ducklake_table WHERE table_name = 'spans' AND end_snapshot IS NULL

-- name: select_instances
-- what was known of processes when the snapshots that said it expired
SELECT document FROM sagascope_instances

-- name: put_instance
INSERT INTO sagascope_instances VALUES (%s, %s, %s, %s)
ON CONFLICT (environment, service, identity) DO UPDATE SET document = excluded.document

-- name: delete_instance
DELETE FROM sagascope_instances WHERE (environment, service, identity) = (%s, %s, %s)

-- name: select_tables_to_merge
SELECT table_name
FROM ducklake_data_file AS file JOIN ducklake_table AS named USING (table_id)
WHERE file.end_snapshot IS NULL AND named.end_snapshot IS NULL
    AND file.file_size_bytes >= %(smallest)s AND file.file_size_bytes < %(largest)s
    AND file.data_file_id NOT IN (SELECT data_file_id FROM ducklake_delete_file WHERE end_snapshot IS NULL)
GROUP BY table_name HAVING count(*) >= %(number)s

-- name: select_old_snapshot
SELECT max(snapshot_id) FROM ducklake_snapshot
WHERE snapshot_time < clock_timestamp() - make_interval(secs => %(seconds)s)

-- name: select_receipts
-- the earliest time of receipt, from a time on, by the minima of the files; NULL: no file has such records.
-- Materialized: else other columns' texts would be cast as well
WITH receipts AS MATERIALIZED (
    SELECT min_value, max_value
    FROM ducklake_file_column_stats
        JOIN ducklake_column USING (table_id, column_id) JOIN ducklake_data_file USING (data_file_id)
    WHERE column_name = 'received_at' AND ducklake_column.end_snapshot IS NULL AND ducklake_data_file.end_snapshot IS NULL
)
SELECT CASE WHEN count(*) > 0 THEN greatest(min(min_value::bigint), %(since)s) END
FROM receipts WHERE max_value::bigint >= %(since)s

-- name: create_links_since
-- this and what follows: in the connection to the lake. A table in memory is visible to all its cursors
CREATE OR REPLACE TABLE memory.links_since AS
SELECT rowid AS row_number, * FROM lake.linked_spans AT (VERSION => $snapshot) WHERE rowid >= $first

-- name: select_last_link
SELECT coalesce(max(row_number) + 1, 0) FROM memory.links_since

-- name: drop_links_since
DROP TABLE memory.links_since

-- name: select_links_of_spans
FROM memory.links_since SEMI JOIN batch USING (trace_id, span_id)

-- name: select_spans_since
SELECT rowid AS row_number, * FROM lake.spans AT (VERSION => $snapshot) WHERE rowid >= $first

-- name: select_logs_since
SELECT rowid AS row_number, * FROM lake.logs AT (VERSION => $snapshot) WHERE rowid >= $first

-- name: merge_files
CALL ducklake_merge_adjacent_files(
    'lake', $table, max_compacted_files => 1, min_file_size => $smallest::UBIGINT, max_file_size => $largest::UBIGINT
)

-- name: rewrite_files
CALL ducklake_rewrite_data_files('lake', $table)

-- name: expire_snapshots
CALL ducklake_expire_snapshots('lake', older_than => now() - to_seconds($seconds))

-- name: delete_replaced_files
CALL ducklake_cleanup_old_files('lake', older_than => now() - to_seconds($seconds))

-- name: delete_orphans
CALL ducklake_delete_orphaned_files('lake', older_than => now() - to_seconds($seconds))

-- name: delete_old_spans
DELETE FROM spans
WHERE received_at >= $from AND received_at < $before
    AND (environment, saga_id) NOT IN (SELECT (environment, saga_id) FROM kept)
    AND (trace_id, span_id) NOT IN (
        SELECT (trace_id, span_id) FROM linked_spans SEMI JOIN kept USING (environment, saga_id)
        WHERE received_at >= $from AND received_at < $before
    )

-- name: delete_old_logs
DELETE FROM logs
WHERE received_at >= $from AND received_at < $before
    AND (environment, saga_id) NOT IN (SELECT (environment, saga_id) FROM kept)

-- name: delete_old_linked_spans
DELETE FROM linked_spans
WHERE received_at >= $from AND received_at < $before
    AND (environment, saga_id) NOT IN (SELECT (environment, saga_id) FROM kept)

-- name: select_cursor
-- this and what follows: in the local database
SELECT lake, snapshot_id, spans, logs, linked_spans FROM lake_cursor

-- name: delete_cursor
DELETE FROM lake_cursor

-- name: insert_cursor
INSERT INTO lake_cursor VALUES ($lake, $snapshot, $spans, $logs, $linked_spans)

-- name: select_kept
-- the transactions that are open, or that began before a time and have not expired
SELECT environment, id FROM open_sagas
UNION SELECT environment, id FROM ended_sagas WHERE started_at < $before
