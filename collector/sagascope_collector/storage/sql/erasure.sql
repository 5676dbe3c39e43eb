-- name: insert_erasures
INSERT INTO erasures SELECT * FROM named

-- name: select_erasures
SELECT environment, id, "text" FROM erasures

-- name: delete_erasures
DELETE FROM erasures

-- name: delete_baselines_of_ids
DELETE FROM baselines USING settled
WHERE baselines.environment = settled.environment AND baselines.id = settled.id
RETURNING baselines.environment, baselines.name, baselines.id, baselines.run

-- name: delete_changed_of_ids
DELETE FROM changed_sagas USING settled
WHERE changed_sagas.environment = settled.environment AND changed_sagas.id = settled.id
