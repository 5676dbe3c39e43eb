UPDATE alert_notifications SET delivered_at = $at, next_try_at = NULL, tries = tries + 1, error = NULL WHERE id = $id
