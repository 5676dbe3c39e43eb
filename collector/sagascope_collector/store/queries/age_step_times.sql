INSERT INTO step_times
SELECT environment, name, step, type, slot // 3600 * 3600, bucket, sum(attempts)
FROM step_times
WHERE slot < $before AND slot % 3600 <> 0
GROUP BY ALL
ON CONFLICT DO UPDATE SET attempts = attempts + excluded.attempts
