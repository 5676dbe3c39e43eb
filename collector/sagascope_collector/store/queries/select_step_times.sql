SELECT step, type, slot // $width * $width AS period, bucket, sum(attempts)
FROM (
    SELECT environment, name, step, type, slot, bucket, attempts FROM step_times
    UNION ALL
    SELECT environment, name, step, type, slot, bucket, attempts FROM rolled WHERE bucket IS NOT NULL
)
WHERE name = $name AND slot >= $since AND ($environment IS NULL OR environment = $environment)
GROUP BY ALL
HAVING sum(attempts) > 0
ORDER BY ALL
