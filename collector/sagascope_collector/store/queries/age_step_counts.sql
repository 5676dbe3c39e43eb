INSERT INTO step_counts
SELECT
    environment, name, step, type, slot // 3600 * 3600,
    sum(succeeded), sum(failed), sum(retried), sum(undone), sum(place)
FROM step_counts
WHERE slot < $before AND slot % 3600 <> 0
GROUP BY ALL
ON CONFLICT DO UPDATE SET
    succeeded = succeeded + excluded.succeeded,
    failed = failed + excluded.failed,
    retried = retried + excluded.retried,
    undone = undone + excluded.undone,
    place = place + excluded.place
