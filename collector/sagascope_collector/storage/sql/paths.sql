-- name: count_paths
SELECT
    steps,
    count(*) AS sagas,
    count_if(status = 'completed') AS completed,
    arg_max(environment, started_at),
    arg_max(id, started_at)
FROM (
    SELECT environment, id, steps, status, started_at FROM open_sagas
    WHERE name = $name AND ($environment IS NULL OR environment = $environment)
        AND started_at >= $since::BIGINT AND ended_at IS NOT NULL
    UNION ALL
    SELECT environment, id, steps, status, started_at FROM ended_sagas
    WHERE name = $name AND ($environment IS NULL OR environment = $environment) AND started_at >= $since::BIGINT
)
GROUP BY steps
ORDER BY sagas DESC, steps
LIMIT $limit
