UPDATE alert_notifications SET next_try_at = $next_try_at, tries = tries + 1, error = $error WHERE id = $id
