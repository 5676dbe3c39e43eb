INSERT INTO step_times
SELECT environment, name, step, type, slot, bucket, sum(attempts)
FROM rolled
WHERE bucket IS NOT NULL AND attempts > 0
GROUP BY ALL
ON CONFLICT DO UPDATE SET attempts = attempts + excluded.attempts
