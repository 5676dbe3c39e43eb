-- name: copy_span_records
INSERT INTO copied.span_records FROM span_records WHERE seq > $after::UBIGINT AND seq <= $through::UBIGINT

-- name: copy_log_records
INSERT INTO copied.log_records FROM log_records WHERE seq > $after::UBIGINT AND seq <= $through::UBIGINT

-- name: copy_linked_spans
INSERT INTO copied.linked_spans FROM linked_spans WHERE seq > $after::UBIGINT AND seq <= $through::UBIGINT

-- name: delete_reopened
-- except sagas that could not be reopened
DELETE FROM copied.ended_sagas USING settled
WHERE ended_sagas.environment = settled.environment AND ended_sagas.id = settled.id
    AND (settled.environment, settled.id) NOT IN (
        SELECT (environment, id) FROM ended_sagas SEMI JOIN settled USING (environment, id)
    )

-- name: update_copied_clean
UPDATE copied.state SET is_clean = $is_clean

-- name: select_tables
SELECT table_name FROM duckdb_tables()
WHERE NOT internal AND NOT temporary AND database_name = current_database()

-- name: insert_backup
INSERT INTO backups VALUES ($made_at, $location)

-- name: select_backups
-- a later backup replaced an earlier one at the same location
SELECT location, max(made_at) AS made_at FROM backups
GROUP BY location
HAVING max(made_at) >= $since
ORDER BY made_at, location
