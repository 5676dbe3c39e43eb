-- name: select_states
SELECT receiver, incident, opened_at, growth_step, is_resolved, resolved_since FROM alert_states WHERE NOT is_resolved

-- name: put_states
INSERT OR REPLACE INTO alert_states BY NAME SELECT * FROM batch_states

-- name: insert_notifications
INSERT INTO alert_notifications BY NAME
SELECT *, 0 AS attempts, "at" AS next_attempt_at FROM batch_notifications
ON CONFLICT DO NOTHING

-- name: select_notifications
SELECT id, receiver, "at", event, document, attempts, next_attempt_at
FROM alert_notifications
WHERE next_attempt_at IS NOT NULL
ORDER BY "at", id

-- name: update_notification_delivered
UPDATE alert_notifications SET delivered_at = $at, next_attempt_at = NULL, attempts = attempts + 1, error = NULL
WHERE id = $id

-- name: update_notification_failed
UPDATE alert_notifications SET next_attempt_at = $next_attempt_at, attempts = attempts + 1, error = $error WHERE id = $id

-- name: clear_notifications
-- pending notifications are cleared as well, and not delivered
UPDATE alert_notifications SET document = '{}', next_attempt_at = NULL
WHERE document <> '{}' AND EXISTS (FROM texts WHERE contains(document, texts."text"))
