-- name: select_latest_start
SELECT max(started_at) FROM (SELECT started_at FROM open_sagas UNION ALL SELECT started_at FROM ended_sagas)

-- name: select_positions
-- the positions of sagas in an order; complete summaries are read for the page only. `least`: earliest start
WITH every AS (
    SELECT rowid AS row_number, 0::UBIGINT AS batch, * FROM open_sagas
    WHERE started_at >= coalesce($least, -9223372036854775808)::BIGINT
    UNION ALL
    SELECT rowid, * FROM ended_sagas
    WHERE started_at >= coalesce($least, -9223372036854775808)::BIGINT
        -- no ended saga is running or needs attention
        AND NOT $only_open
),
found AS (
    SELECT
        $sign::BIGINT * CASE $by
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
        environment, name, id, run, batch, row_number
    FROM every
    WHERE ($environment IS NULL OR environment = $environment)
        AND ($status IS NULL OR status = $status)
        AND ($name IS NULL OR name = $name)
        AND ($service IS NULL OR contains(services, $service))
        AND ($step IS NULL OR contains(steps, $step))
        AND ($path IS NULL OR steps = $path)
        AND ($since IS NULL OR started_at >= $since)
        AND ($until IS NULL OR started_at < $until)
        AND ($q IS NULL OR starts_with(id, $q) OR contains(keys, $member))
        AND ($attention IS NULL OR attention = $attention OR ($attention = 'any' AND attention IS NOT NULL))
        AND (
            $incident IS NULL
            OR (environment, name, id, run) IN (
                SELECT (environment, name, id, run) FROM incident_sagas WHERE incident = $incident
            )
        )
        AND ($failed_since IS NULL OR (
            status IN ('failed', 'compensated') AND attention IS NULL
            AND ended_at >= $failed_since AND ended_at <= $failed_until
        ))
        AND (
            $alone IS NULL
            OR (environment, name, id, run) IN (
                SELECT (environment, name, id, run) FROM incident_sagas
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

-- name: select_open_at
SELECT * EXCLUDE (id_hash, bounds) FROM open_sagas WHERE rowid IN (SELECT row_number FROM wanted)

-- name: select_ended_at
SELECT * EXCLUDE (batch, id_hash, bounds) FROM ended_sagas WHERE rowid IN (SELECT row_number FROM wanted)

-- name: select_open_of_ids
SELECT open_sagas.* EXCLUDE (id_hash, bounds)
FROM open_sagas SEMI JOIN (SELECT *, md5_number_lower(id) AS id_hash FROM wanted) AS wanted
    USING (id_hash, environment, id)

-- name: select_ended_of_ids
SELECT ended_sagas.* EXCLUDE (batch, id_hash, bounds)
FROM ended_sagas SEMI JOIN (SELECT *, md5_number_lower(id) AS id_hash FROM wanted) AS wanted
    USING (id_hash, environment, id)
WHERE batch = $batch::UBIGINT

-- name: select_downsampled
SELECT * EXCLUDE (batch, id_hash, bounds) FROM ended_sagas
WHERE batch = $batch::UBIGINT AND id_hash = md5_number_lower($id) AND id = $id AND bounds = $bounds

-- name: search_open
-- the best match first, then the newest saga
SELECT
    CASE WHEN id = $text THEN 'id' WHEN contains(keys, $member) THEN 'key' ELSE 'prefix' END AS kind,
    * EXCLUDE (id_hash, bounds)
FROM open_sagas
WHERE starts_with(id, $text) OR contains(keys, $member)
ORDER BY (kind = 'id') DESC, (kind = 'key') DESC, started_at DESC, environment, name, id, run
LIMIT $limit

-- name: search_ended
SELECT
    CASE WHEN id = $text THEN 'id' ELSE 'key' END AS kind,
    * EXCLUDE (batch, id_hash, bounds)
FROM ended_sagas
WHERE batch >= $first::UBIGINT AND batch <= $last::UBIGINT AND (id = $text OR contains(keys, $member))
ORDER BY (kind = 'id') DESC, started_at DESC, environment, name, id, run
LIMIT $limit

-- name: search_ended_beginnings
SELECT * EXCLUDE (batch, id_hash, bounds)
FROM ended_sagas
WHERE rowid IN (
    SELECT rowid FROM ended_sagas
    WHERE starts_with(id, $text)
    ORDER BY started_at DESC, environment, name, id, run
    LIMIT $limit
)
