-- as count_courses, of shelves
SELECT
    steps,
    count(*) AS sagas,
    count_if(status = 'completed') AS completed,
    arg_max(environment, started_at),
    arg_max(id, started_at),
    max(started_at)
FROM read_parquet($files, filename = TRUE, file_row_number = TRUE)
ANTI JOIN gone USING (filename, file_row_number)
WHERE name = $name AND ($environment IS NULL OR environment = $environment)
    AND started_at >= $since AND ended_at IS NOT NULL
GROUP BY steps
ORDER BY sagas DESC, steps
LIMIT $limit
