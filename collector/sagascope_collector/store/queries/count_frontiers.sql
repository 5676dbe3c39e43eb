-- sagas that are under way, by the step at which they stand
SELECT step, count(*)
FROM sagas
WHERE name = $name AND ended_at IS NULL AND step IS NOT NULL AND ($environment IS NULL OR environment = $environment)
GROUP BY step
