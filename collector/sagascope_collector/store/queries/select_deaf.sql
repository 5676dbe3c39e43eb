SELECT heard_until, next_start
FROM (
    SELECT coalesce(stopped_at, alive_at) AS heard_until, lead(started_at) OVER (ORDER BY started_at) AS next_start
    FROM collector_runs
)
WHERE next_start > $since AND next_start > heard_until
ORDER BY heard_until
