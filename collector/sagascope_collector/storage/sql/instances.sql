-- name: select_instances
SELECT document FROM instances

-- name: put_instances
INSERT OR REPLACE INTO instances SELECT * FROM batch_instances
