INSERT INTO alert_notifications BY NAME
SELECT *, 0 AS tries, "at" AS next_try_at FROM batch_notifications
ON CONFLICT DO NOTHING
