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
