SELECT count_if(next_try_at IS NOT NULL), count_if(delivered_at IS NOT NULL), count_if(next_try_at IS NULL AND delivered_at IS NULL)
FROM alert_notifications
