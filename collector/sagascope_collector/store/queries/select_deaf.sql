SELECT deaf_from, deaf_until
FROM (
    SELECT coalesce(stopped_at, alive_at) AS deaf_from, lead(started_at) OVER (ORDER BY started_at) AS deaf_until
    FROM collector_runs
    UNION ALL SELECT deaf_from, deaf_until FROM deafness
)
WHERE deaf_until > $since AND deaf_until > deaf_from
ORDER BY deaf_from
