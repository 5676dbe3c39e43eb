-- name: select_instances
SELECT * FROM instances ORDER BY last_seen DESC, environment, service, identity

-- name: put_instances
INSERT OR REPLACE INTO instances SELECT * FROM batch_instances
