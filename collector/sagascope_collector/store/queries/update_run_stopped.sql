UPDATE collector_runs SET alive_at = $now, stopped_at = $now WHERE started_at = $started_at
