-- name: create_migrations
CREATE TABLE IF NOT EXISTS migrations (
    version INTEGER PRIMARY KEY,
    name VARCHAR NOT NULL,
    applied_at TIMESTAMP NOT NULL,
    applied_by VARCHAR NOT NULL
)

-- name: insert_migration
INSERT INTO migrations VALUES ($version, $name, now()::TIMESTAMP, $applied_by)

-- name: select_migrations
SELECT version FROM migrations ORDER BY version

-- name: select_tables
SELECT table_name FROM duckdb_tables() WHERE NOT internal AND NOT temporary

-- name: read_table
SELECT count(*), bit_xor(hash(every)) FROM "table" AS every

-- name: count_records
SELECT count(*), coalesce(max(received_at), 0)
FROM (
    SELECT received_at FROM span_records
    UNION ALL SELECT received_at FROM log_records
    UNION ALL SELECT received_at FROM long_running_spans
    UNION ALL SELECT received_at FROM long_running_logs
)
