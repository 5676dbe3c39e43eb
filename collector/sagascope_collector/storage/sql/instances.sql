-- name: select_instances
SELECT document FROM instances

-- name: put_instances
INSERT OR REPLACE INTO instances SELECT * FROM batch_instances

-- name: delete_instances
DELETE FROM instances USING forgotten
WHERE instances.environment = forgotten.environment AND instances.service = forgotten.service
    AND instances.identity = forgotten.identity
