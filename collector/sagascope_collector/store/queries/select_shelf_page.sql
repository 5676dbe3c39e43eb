-- as select_sagas, of one shelf: no saga at rest needs anyone, or is part of an incident
SELECT * FROM read_parquet($file, file_row_number = TRUE)
WHERE ($environment IS NULL OR environment = $environment)
    AND ($status IS NULL OR status = $status)
    AND ($name IS NULL OR name = $name)
    AND ($service IS NULL OR contains(services, $service))
    AND ($step IS NULL OR contains(steps, $step))
    AND ($course IS NULL OR steps = $course)
    AND ($since IS NULL OR started_at >= $since)
    AND ($until IS NULL OR started_at < $until)
    AND ($q IS NULL OR starts_with(id, $q) OR contains(keys, $member))
    AND (
        $before IS NULL
        OR started_at < $before
        OR (started_at = $before AND (environment, name, id, run) > ($after_environment, $after_name, $after_id, $after_run))
    )
ORDER BY started_at DESC, environment, name, id, run
LIMIT $limit
