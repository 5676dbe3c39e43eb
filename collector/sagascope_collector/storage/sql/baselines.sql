-- name: select_baselines
SELECT document FROM baselines

-- name: delete_baselines
DELETE FROM baselines USING batch
WHERE baselines.environment = batch.environment
    AND baselines.name = batch.name
    AND baselines.id = batch.id
    AND baselines.run = batch.run

-- name: insert_baselines
INSERT INTO baselines SELECT * FROM batch

-- name: prune_baselines
-- no window function: DuckDB 2.0.0 crashed under load in one here
DELETE FROM baselines
WHERE environment = $environment
    AND name = $name
    AND row(ended_at, rowid) <= (
        SELECT row(ended_at, rowid) FROM baselines
        WHERE environment = $environment AND name = $name
        ORDER BY ended_at DESC, rowid DESC
        LIMIT 1 OFFSET $keep
    )
