SELECT step, type, slot // $width * $width AS period, sum(succeeded), sum(failed), sum(retried), sum(undone), sum(place)
FROM (
    SELECT environment, name, step, type, slot, succeeded, failed, retried, undone, place FROM step_counts
    UNION ALL
    SELECT
        environment, name, step, type, slot,
        CASE WHEN bucket IS NULL THEN 0 ELSE attempts END,
        CASE WHEN bucket IS NULL THEN attempts ELSE 0 END,
        retried, undone, place
    FROM rolled
)
WHERE name = $name AND slot >= $since AND ($environment IS NULL OR environment = $environment)
GROUP BY step, type, period
ORDER BY step, type, period
