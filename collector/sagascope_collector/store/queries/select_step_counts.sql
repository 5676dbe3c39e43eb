SELECT step, type, sum(succeeded), sum(failed), sum(retried), sum(undone)
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
GROUP BY step, type
ORDER BY sum(place) / greatest(sum(succeeded + failed), 1), step, type
