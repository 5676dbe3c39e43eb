SELECT id, webhook, "at", event, document, tries, next_try_at
FROM alert_notifications
WHERE next_try_at IS NOT NULL
ORDER BY "at", id
