-- which steps sagas of a type took that ended, in which order
SELECT
    steps,
    count(*) AS sagas,
    count_if(status = 'completed') AS completed,
    arg_max(environment, started_at),
    arg_max(id, started_at),
    max(started_at)
FROM sagas
WHERE name = $name AND ($environment IS NULL OR environment = $environment)
    AND started_at >= $since AND ended_at IS NOT NULL
GROUP BY steps
ORDER BY sagas DESC, steps
LIMIT $limit
