-- no window function: under load DuckDB 2.0 crashed in one here
DELETE FROM lessons
WHERE environment = $environment
    AND name = $name
    AND row(ended_at, rowid) <= (
        SELECT row(ended_at, rowid) FROM lessons
        WHERE environment = $environment AND name = $name
        ORDER BY ended_at DESC, rowid DESC
        LIMIT 1 OFFSET $keep
    )
