-- name: set_file_size
-- the maximum size that one merge writes, while receivers wait
CALL lake.set_option('target_file_size', '64MB')

-- name: select_time
-- nanoseconds since 1970
SELECT (extract(epoch FROM clock_timestamp()) * 1000000000)::bigint

-- name: select_has_versions
SELECT to_regclass('sagascope_version') IS NOT NULL

-- name: select_version
SELECT version, oldest FROM sagascope_version

-- name: update_version
UPDATE sagascope_version SET version = %s

-- name: count_live_receivers
SELECT count(*) FROM sagascope_receivers WHERE seen_at > clock_timestamp() - interval '10 seconds'

-- name: take_lock
-- PostgreSQL ends a session, and thus releases its locks, when it has been idle for this time
SELECT set_config('idle_session_timeout', %s, FALSE), pg_advisory_lock(%s)

-- name: release_lock
-- whether the session still held it
SELECT pg_advisory_unlock(%s), set_config('idle_session_timeout', '0', FALSE)

-- name: try_lock
SELECT pg_try_advisory_lock(%s)

-- name: confirm_locks
-- a session that answers still has its locks
SELECT true

-- name: insert_file
INSERT INTO sagascope_files (path, written_at) VALUES (%(path)s, clock_timestamp()) RETURNING file_id

-- name: select_is_committable
-- whether this version may write; and whether maintenance has not given up the files, and DuckLake notices commits after a
-- snapshot: it tries to use the next number, whose snapshot must not have expired
SELECT
    (SELECT oldest FROM sagascope_version) <= %(version)s,
    (SELECT count(*) FROM sagascope_files WHERE file_id = ANY(%(files)s)) = cardinality(%(files)s)
    AND (
        EXISTS (SELECT FROM ducklake_snapshot WHERE snapshot_id = %(snapshot)s + 1)
        OR NOT EXISTS (SELECT FROM ducklake_snapshot WHERE snapshot_id > %(snapshot)s)
    )

-- name: delete_files
DELETE FROM sagascope_files WHERE file_id = ANY(%(files)s)

-- name: give_up_files
-- has DuckLake delete old files that no commit names; its ids of files are smaller
WITH named AS (
    SELECT regexp_replace(path, '.*/', '') AS file FROM ducklake_data_file
    UNION ALL SELECT regexp_replace(path, '.*/', '') FROM ducklake_files_scheduled_for_deletion
),
settled AS (
    DELETE FROM sagascope_files AS stored
    WHERE written_at < clock_timestamp() - make_interval(secs => %(seconds)s)
        OR regexp_replace(path, '.*/', '') IN (SELECT file FROM named)
    RETURNING file_id, path
)
INSERT INTO ducklake_files_scheduled_for_deletion
SELECT (1::bigint << 60) + file_id, path, FALSE, clock_timestamp()
FROM settled WHERE regexp_replace(path, '.*/', '') NOT IN (SELECT file FROM named)

-- name: put_heartbeat
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

-- name: delete_heartbeat
DELETE FROM sagascope_receivers WHERE receiver = %(receiver)s AND EXISTS (
    SELECT 1 FROM sagascope_receivers WHERE receiver <> %(receiver)s AND seen_at > clock_timestamp() - interval '10 seconds'
)

-- name: select_lag
-- the seconds by which the slowest live receiver lags. If none is live, those since the last reported commit: the
-- next heartbeat stores that there was an outage. NULL: there was no receiver yet
WITH lags AS (
    SELECT clock_timestamp() - committed_until AS lag, seen_at > clock_timestamp() - interval '10 seconds' AS is_live
    FROM sagascope_receivers
)
SELECT extract(epoch FROM coalesce(max(lag) FILTER (WHERE is_live), min(lag)))::float8 FROM lags

-- name: select_outages
SELECT (extract(epoch FROM started_at) * 1000000000)::bigint, (extract(epoch FROM ended_at) * 1000000000)::bigint
FROM sagascope_outages ORDER BY started_at

-- name: select_snapshots
-- the next snapshots, the tables to which each appended records, and what it says of processes
SELECT
    snapshot_id,
    ARRAY(
        SELECT table_name FROM ducklake_table
        WHERE changes_made ~ concat('inserted_into_table:', table_id, '(,|$)')
            AND commit_message IS DISTINCT FROM 'erasure'
    ),
    coalesce(commit_extra_info, '')
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

-- name: put_follower
INSERT INTO sagascope_followers VALUES (%(follower)s, %(snapshot)s, clock_timestamp())
ON CONFLICT (follower) DO UPDATE SET snapshot_id = excluded.snapshot_id, seen_at = excluded.seen_at

-- name: delete_follower
DELETE FROM sagascope_followers
WHERE follower = %(follower)s OR seen_at < clock_timestamp() - interval '1 day'

-- name: select_behind
-- the live collectors that do not have a snapshot yet
SELECT follower FROM sagascope_followers
WHERE snapshot_id < %(snapshot)s AND seen_at > clock_timestamp() - interval '10 seconds'

-- name: insert_erasure
INSERT INTO sagascope_erasures (request, salt, digests) VALUES (%(request)s, %(salt)s, %(digests)s) RETURNING erasure_id

-- name: select_unfinished_erasures
SELECT erasure_id, request FROM sagascope_erasures WHERE request IS NOT NULL ORDER BY erasure_id

-- name: select_finished_erasure
-- NULL: it is not finished
SELECT CASE WHEN request IS NULL THEN last_snapshot END FROM sagascope_erasures WHERE erasure_id = %(erasure)s

-- name: select_erasures
SELECT first_snapshot, last_snapshot, salt, digests
FROM sagascope_erasures
WHERE first_snapshot IS NOT NULL AND (last_snapshot IS NULL OR last_snapshot > %(after)s)
ORDER BY first_snapshot

-- name: begin_erasure
UPDATE sagascope_erasures
SET first_snapshot = coalesce(first_snapshot, (SELECT max(snapshot_id) + 1 FROM ducklake_snapshot))
WHERE erasure_id = %(erasure)s

-- name: end_erasure
UPDATE sagascope_erasures SET last_snapshot = (SELECT max(snapshot_id) FROM ducklake_snapshot)
WHERE erasure_id = %(erasure)s RETURNING last_snapshot

-- name: finish_erasure
UPDATE sagascope_erasures SET request = NULL WHERE erasure_id = %(erasure)s

-- name: select_transaction
SELECT pg_current_xact_id()::text

-- name: select_older_transactions
-- sessions that may see rows as of before a transaction
SELECT pid FROM pg_stat_activity
WHERE datname = current_database() AND pid <> pg_backend_pid()
    AND age(backend_xmin) >= age(%(now)s::xid8::xid)

-- name: select_latest
SELECT max(snapshot_id) FROM ducklake_snapshot

-- name: select_snapshots_before
SELECT snapshot_id FROM ducklake_snapshot WHERE snapshot_id < %(snapshot)s

-- name: select_last_replaced
-- after the time at which the last file was replaced
SELECT coalesce(max(schedule_start), clock_timestamp()) + interval '1 second' FROM ducklake_files_scheduled_for_deletion

-- name: update_table_statistics
-- minima and maxima of texts as those of the files; DuckLake itself never narrows them. Never NULL where there are rows:
-- DuckLake would then take the minimum of the next file for that of the table
WITH known AS (
    SELECT
        table_id, column_id, min(min_value COLLATE "C") AS lowest, max(max_value COLLATE "C") AS highest,
        bool_or(min_value IS NULL AND value_count > 0) AS is_unknown
    FROM ducklake_file_column_stats
        JOIN ducklake_data_file USING (data_file_id, table_id) JOIN ducklake_column USING (table_id, column_id)
    WHERE ducklake_data_file.end_snapshot IS NULL AND ducklake_column.end_snapshot IS NULL
        AND column_type IN ('varchar', 'blob')
    GROUP BY table_id, column_id
),
texts AS (
    SELECT table_id, column_id, lowest, highest, coalesce(is_unknown, FALSE) AS is_unknown
    FROM ducklake_column LEFT JOIN known USING (table_id, column_id)
    WHERE end_snapshot IS NULL AND column_type IN ('varchar', 'blob')
)
UPDATE ducklake_table_column_stats AS stored SET min_value = lowest, max_value = highest
FROM texts
WHERE texts.table_id = stored.table_id AND texts.column_id = stored.column_id AND NOT is_unknown

-- name: delete_outages
DELETE FROM sagascope_outages WHERE receiver = %s

-- name: insert_outage
INSERT INTO sagascope_outages VALUES (%s, to_timestamp(%s), to_timestamp(%s))

-- name: put_stopped_receiver
-- of a receiver that is not live: the first heartbeat of the next one ends the outage that begins now
INSERT INTO sagascope_receivers VALUES (%(receiver)s, clock_timestamp() - interval '1 minute', clock_timestamp())
ON CONFLICT (receiver) DO UPDATE SET seen_at = excluded.seen_at, committed_until = excluded.committed_until

-- name: add_instance
INSERT INTO sagascope_instances VALUES (%s, %s, %s, %s) ON CONFLICT DO NOTHING

-- name: write_file
-- this and what follows: in the connection to the lake
COPY (FROM batch) TO $path (FORMAT parquet)

-- name: add_file
-- a later version may have added columns
CALL ducklake_add_data_files('lake', $table, $path, allow_missing => TRUE)

-- name: select_snapshot
SELECT id FROM lake.current_snapshot()

-- name: create_links_since
-- a table in memory is visible to all its cursors
CREATE OR REPLACE TABLE memory.links_since AS
SELECT * FROM lake.linked_spans AT (VERSION => $snapshot) WHERE rowid >= $first

-- name: drop_links_since
DROP TABLE memory.links_since

-- name: select_links_of_spans
FROM memory.links_since SEMI JOIN batch USING (trace_id, span_id)

-- name: select_spans_since
SELECT * FROM lake.spans AT (VERSION => $snapshot) WHERE rowid >= $first

-- name: select_logs_since
SELECT * FROM lake.logs AT (VERSION => $snapshot) WHERE rowid >= $first

-- name: disable_file_systems
-- cannot be taken back
SET GLOBAL disabled_filesystems = 'LocalFileSystem,S3FileSystem,HTTPFileSystem'

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

-- name: select_linking
SELECT DISTINCT trace_id, span_id, links
FROM spans
WHERE links <> '' AND (trace_id, span_id) IN (
    SELECT (trace_id, span_id) FROM linked_spans WHERE (environment, saga_id) IN (SELECT (environment, id) FROM gone)
)

-- name: update_links
UPDATE spans SET links = changed.links
FROM changed
WHERE spans.trace_id = changed.trace_id AND spans.span_id = changed.span_id AND spans.links = changed.earlier

-- name: mark_erasure
-- what it inserts was there before
CALL lake.set_commit_message('', 'erasure')

-- name: erase_links
DELETE FROM linked_spans
WHERE (environment, saga_id) IN (SELECT (environment, id) FROM gone)
    OR (trace_id, span_id) IN (
        SELECT (trace_id, span_id) FROM spans WHERE (environment, saga_id) IN (SELECT (environment, id) FROM gone)
    )

-- name: erase_spans
DELETE FROM spans WHERE (environment, saga_id) IN (SELECT (environment, id) FROM gone)

-- name: erase_logs
DELETE FROM logs WHERE (environment, saga_id) IN (SELECT (environment, id) FROM gone)

-- name: rewrite_erased_files
CALL ducklake_rewrite_data_files('lake', $table, delete_threshold => 0)

-- name: expire_versions
CALL ducklake_expire_snapshots('lake', versions => $versions::UBIGINT[])

-- name: delete_erased_files
CALL ducklake_cleanup_old_files('lake', older_than => $before::TIMESTAMPTZ)

-- name: select_ids_with_key
SELECT DISTINCT environment, saga_id, attribute_keys, attribute_values
FROM (
    SELECT environment, saga_id, attribute_keys, attribute_values FROM spans WHERE received_at < $before
    UNION ALL
    SELECT environment, saga_id, attribute_keys, attribute_values FROM logs WHERE received_at < $before
)
WHERE saga_id <> '' AND contains(attribute_keys, $key) AND contains(attribute_values, $value)

-- name: select_transferred
SELECT part, max(last) FROM migrations WHERE database_id = ? GROUP BY part

-- name: count_transferred
-- how many records of a batch are there. Ids in a row: where all ids of a file are equal, DuckDB 1.5 finds none of them
SELECT count(*)
FROM (SELECT received_at, trace_id, span_id FROM spans UNION ALL SELECT received_at, trace_id, span_id FROM logs)
WHERE received_at >= (SELECT min(received_at) FROM batch) AND received_at <= (SELECT max(received_at) FROM batch)
    AND (trace_id, span_id) IN (SELECT (trace_id, span_id) FROM batch)

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

-- name: select_erased
SELECT DISTINCT environment, id
FROM (
    SELECT environment, id FROM open_sagas
    UNION ALL SELECT environment, id FROM ended_sagas
    UNION ALL SELECT environment, id FROM waiting
)
WHERE sha256($secret || environment || chr(31) || id) IN (SELECT digest FROM digests)

-- name: select_keys
SELECT DISTINCT keys
FROM (SELECT environment, id, keys FROM open_sagas UNION ALL SELECT environment, id, keys FROM ended_sagas)
    SEMI JOIN gone USING (environment, id)

-- name: select_database
SELECT database_id FROM state

-- name: select_last_transferred
-- the records of the last commit that was transferred
WITH transferred AS (
    SELECT seq, received_at, trace_id, span_id FROM span_records WHERE seq <= $last::UBIGINT
    UNION ALL SELECT seq, received_at, trace_id, span_id FROM log_records WHERE seq <= $last::UBIGINT
)
SELECT received_at, trace_id, span_id FROM transferred WHERE seq = (SELECT max(seq) FROM transferred)

-- name: select_records_spans
SELECT
    received_at, environment, service, version, identity, instance, resource, scope, trace_id, span_id, parent_id,
    name, kind, start, "end", status, status_message, extras, events, links, saga_id, saga_name, saga_run, saga_role,
    step_name, step_type, step_key, step_attempt, attribute_keys, attribute_values
FROM span_records JOIN origins USING (origin_id)
WHERE seq >= $first::UBIGINT AND seq <= $last::UBIGINT

-- name: select_records_logs
SELECT
    received_at, environment, service, version, identity, instance, resource, scope, "at", "timestamp", observed_at,
    severity, severity_text, body, event_name, trace_id, span_id, flags, dropped_attributes, saga_id, saga_name,
    saga_run, saga_role, step_name, step_type, step_key, step_attempt, attribute_keys, attribute_values
FROM log_records JOIN origins USING (origin_id)
WHERE seq >= $first::UBIGINT AND seq <= $last::UBIGINT

-- name: select_records_links
SELECT linked_spans.* EXCLUDE (seq), min(received_at) AS received_at
FROM linked_spans JOIN span_records USING (trace_id, span_id, seq)
WHERE seq >= $first::UBIGINT AND seq <= $last::UBIGINT
GROUP BY ALL

-- name: select_moves
-- the numbers of the moves of long-running sagas, and of their records
SELECT seq, count(*) FROM (SELECT seq FROM long_running_spans UNION ALL SELECT seq FROM long_running_logs)
WHERE seq > $after::UBIGINT GROUP BY seq ORDER BY seq

-- name: select_moves_spans
SELECT
    received_at, environment, service, version, identity, instance, resource, scope, trace_id, span_id, parent_id,
    name, kind, start, "end", status, status_message, extras, events, links, saga_id, saga_name, saga_run, saga_role,
    step_name, step_type, step_key, step_attempt, attribute_keys, attribute_values
FROM long_running_spans JOIN origins USING (origin_id)
WHERE seq >= $first::UBIGINT AND seq <= $last::UBIGINT

-- name: select_moves_logs
SELECT
    received_at, environment, service, version, identity, instance, resource, scope, "at", "timestamp", observed_at,
    severity, severity_text, body, event_name, trace_id, span_id, flags, dropped_attributes, saga_id, saga_name,
    saga_run, saga_role, step_name, step_type, step_key, step_attempt, attribute_keys, attribute_values
FROM long_running_logs JOIN origins USING (origin_id)
WHERE seq >= $first::UBIGINT AND seq <= $last::UBIGINT

-- name: select_moves_links
SELECT linked_spans.* EXCLUDE (seq), min(received_at) AS received_at
FROM linked_spans JOIN long_running_spans USING (trace_id, span_id)
WHERE long_running_spans.seq >= $first::UBIGINT AND long_running_spans.seq <= $last::UBIGINT
GROUP BY ALL
