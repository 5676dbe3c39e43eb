-- where sagas stand in an order of choice; whole summaries are read of those of the page alone
WITH found AS (
    SELECT
        $sign * CASE $by
            WHEN 'started' THEN started_at
            WHEN 'updated' THEN updated_at
            WHEN 'duration' THEN coalesce(ended_at, updated_at) - started_at
            WHEN 'status' THEN
                CASE
                    WHEN attention IS NOT NULL THEN 0
                    WHEN status = 'running' THEN 1
                    WHEN status = 'compensating' THEN 2
                    WHEN status = 'failed' THEN 3
                    WHEN status = 'compensated' THEN 4
                    ELSE 5
                END
            ELSE 0
        END AS number,
        CASE $by WHEN 'id' THEN id WHEN 'step' THEN concat_ws(chr(31), service, step) ELSE '' END AS text,
        environment, name, id, run
    FROM sagas
    WHERE ($environment IS NULL OR environment = $environment)
        AND ($status IS NULL OR status = $status)
        AND ($name IS NULL OR name = $name)
        AND ($service IS NULL OR contains(services, $service))
        AND ($step IS NULL OR contains(steps, $step))
        AND ($course IS NULL OR steps = $course)
        AND ($since IS NULL OR started_at >= $since)
        AND ($until IS NULL OR started_at < $until)
        AND ($q IS NULL OR starts_with(id, $q) OR contains(keys, $member))
        AND ($attention IS NULL OR attention = $attention OR ($attention = 'any' AND attention IS NOT NULL))
        AND (
            $incident IS NULL
            OR (environment, name, id, run) IN (
                SELECT (environment, name, id, run) FROM standing WHERE incident = $incident
            )
        )
        AND (
            $alone IS NULL
            OR (environment, name, id, run) IN (
                SELECT (environment, name, id, run) FROM standing
                QUALIFY (count(*) OVER (PARTITION BY incident) = 1) = $alone
            )
        )
)
SELECT *
FROM found
WHERE $after_id IS NULL
    OR number > $number
    OR (number = $number AND CASE WHEN $sign < 0 THEN text < $text ELSE text > $text END)
    OR (
        number = $number AND text = $text
        AND (environment, name, id, run) > ($after_environment, $after_name, $after_id, $after_run)
    )
ORDER BY
    number,
    CASE WHEN $sign > 0 THEN text END,
    CASE WHEN $sign < 0 THEN text END DESC,
    environment, name, id, run
LIMIT $limit
