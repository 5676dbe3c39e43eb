-- name: select_baselines
SELECT document FROM baselines

-- name: select_keys
SELECT environment, name, id, run, ended_at FROM baselines

-- name: delete_baselines
DELETE FROM baselines USING batch
WHERE baselines.environment = batch.environment
    AND baselines.name = batch.name
    AND baselines.id = batch.id
    AND baselines.run = batch.run
