INSERT INTO step_counts
SELECT
    environment, name, step, type, slot,
    coalesce(sum(attempts) FILTER (bucket IS NOT NULL), 0),
    coalesce(sum(attempts) FILTER (bucket IS NULL), 0),
    sum(retried),
    sum(undone),
    sum(place)
FROM rolled
GROUP BY ALL
ON CONFLICT DO UPDATE SET
    succeeded = succeeded + excluded.succeeded,
    failed = failed + excluded.failed,
    retried = retried + excluded.retried,
    undone = undone + excluded.undone,
    place = place + excluded.place
