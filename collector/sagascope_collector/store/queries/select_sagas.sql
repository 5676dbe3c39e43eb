-- rows first: whole summaries are read of those of the page alone
SELECT * FROM sagas
WHERE rowid IN (
    SELECT rowid FROM sagas
    WHERE ($environment IS NULL OR environment = $environment)
        AND ($status IS NULL OR status = $status)
        AND ($attention IS NULL OR attention = $attention OR ($attention = 'any' AND attention IS NOT NULL))
        AND ($name IS NULL OR name = $name)
        AND ($service IS NULL OR contains(services, $service))
        AND ($step IS NULL OR contains(steps, $step))
        AND ($course IS NULL OR steps = $course)
        AND ($since IS NULL OR started_at >= $since)
        AND ($until IS NULL OR started_at < $until)
        AND ($q IS NULL OR starts_with(id, $q) OR contains(keys, $member))
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
        AND (
            $before IS NULL
            OR started_at < $before
            OR (started_at = $before AND (environment, name, id, run) > ($after_environment, $after_name, $after_id, $after_run))
        )
    ORDER BY started_at DESC, environment, name, id, run
    LIMIT $limit
)
ORDER BY started_at DESC, environment, name, id, run
