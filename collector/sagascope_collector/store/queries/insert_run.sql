INSERT INTO collector_runs VALUES ($now, $now, NULL)
