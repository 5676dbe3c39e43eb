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
    trace_id BLOB, span_id BLOB, environment VARCHAR, saga_id VARCHAR, saga_name VARCHAR, saga_run VARCHAR,
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
SELECT snapshot_id, commit_extra_info FROM ducklake_snapshot_changes WHERE snapshot_id > %(after)s
ORDER BY snapshot_id LIMIT %(limit)s

-- name: select_identity
SELECT table_uuid::text FROM ducklake_table WHERE table_name = 'spans' AND end_snapshot IS NULL

-- name: select_cursor
-- this and what follows: in the local database
SELECT lake, snapshot_id FROM lake_cursor

-- name: delete_cursor
DELETE FROM lake_cursor

-- name: insert_cursor
INSERT INTO lake_cursor VALUES ($lake, $id)
