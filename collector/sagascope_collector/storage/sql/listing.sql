-- name: select_latest_start
SELECT max(started_at) FROM (SELECT started_at FROM open_sagas UNION ALL SELECT started_at FROM ended_sagas)

-- name: matching
-- the sagas that the filters leave, with their place in an order: the table `found` of the three statements that follow.
-- `least`: earliest start
WITH every AS (
    SELECT
        rowid AS row_number, 0::UBIGINT AS batch,
        CASE
            WHEN $by = 'attempts' AND (ended_at IS NULL OR attention IS NOT NULL) THEN (document->>'$.attempts')::BIGINT
        END AS attempts,
        *
    FROM open_sagas
    WHERE started_at >= coalesce($least, -9223372036854775808)::BIGINT
    UNION ALL
    SELECT rowid, batch, NULL, * EXCLUDE (batch) FROM ended_sagas
    WHERE started_at >= coalesce($least, -9223372036854775808)::BIGINT
        -- no ended saga is running or needs attention
        AND NOT $only_open
),
-- empty where nothing asks for it, so that the join costs nothing
stuck AS (
    SELECT environment, name, id, run, since, certain, possible, amount
    FROM incident_sagas
    LEFT JOIN (
        SELECT
            environment, id, incident,
            max(certain) AS certain, max(possible) AS possible, max(certain + possible) AS amount
        FROM incident_amounts
        GROUP BY ALL
    ) USING (environment, id, incident)
    WHERE $by IN ('since', 'amount', 'urgency')
        OR $amount IS NOT NULL OR $stuck_since IS NOT NULL OR $stuck_until IS NOT NULL
),
found AS (
    SELECT
        CASE $by
            -- without the value last, in either direction
            WHEN 'since' THEN coalesce($sign::BIGINT * since, 9223372036854775807)
            ELSE $sign::BIGINT * CASE $by
                WHEN 'started' THEN started_at
                WHEN 'updated' THEN updated_at
                WHEN 'duration' THEN coalesce(ended_at, updated_at) - started_at
                WHEN 'attempts' THEN coalesce(attempts, 0)
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
            END
        END AS number,
        CASE $by
            WHEN 'id' THEN id
            WHEN 'step' THEN concat_ws(chr(31), service, step)
            -- amounts are shifted, so that all have the same number of digits
            WHEN 'amount' THEN (5000000000000000000000::DECIMAL(38, 9) + coalesce(amount, 0))::VARCHAR
            WHEN 'urgency' THEN
                CASE WHEN attention IS NULL THEN '~' ELSE concat(
                    lpad(list_position($codes::VARCHAR[], attention)::VARCHAR, 3, '0'),
                    5000000000000000000000::DECIMAL(38, 9) - coalesce(certain, 0),
                    5000000000000000000000::DECIMAL(38, 9) - coalesce(possible, 0),
                    lpad(coalesce(since, started_at)::VARCHAR, 20, '0')
                ) END
            ELSE ''
        END AS text,
        environment, name, id, run, batch, row_number, status, attention, started_at, ended_at
    FROM every
    LEFT JOIN stuck USING (environment, name, id, run)
    WHERE ($environment IS NULL OR environment = $environment)
        -- what `doctor` sends is not user data
        AND (environment <> 'sagascope.doctor' OR environment = $environment)
        AND ($status IS NULL OR status = $status)
        AND ($name IS NULL OR name = $name)
        AND ($service IS NULL OR contains(services, $service))
        AND ($step IS NULL OR contains(steps, $step))
        AND ($path IS NULL OR steps = $path)
        AND ($since IS NULL OR started_at >= $since)
        AND ($until IS NULL OR started_at < $until)
        AND (
            $q IS NULL OR starts_with(id, $q) OR contains(keys, $member)
            OR list_contains($also::VARCHAR[], concat(environment, chr(31), id))
        )
        AND ($stuck_since IS NULL OR since >= $stuck_since)
        AND ($stuck_until IS NULL OR since < $stuck_until)
        AND ($amount IS NULL OR amount >= $amount::DECIMAL(38, 9))
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
FROM found

-- name: select_positions
-- the positions of sagas in an order; complete summaries are read for the page only
SELECT number, text, environment, name, id, run, batch, row_number
FROM found
WHERE $after_id IS NULL
    OR number > $after_number
    OR (number = $after_number AND CASE WHEN $sign < 0 THEN text < $after_text ELSE text > $after_text END)
    OR (
        number = $after_number AND text = $after_text
        AND (environment, name, id, run) > ($after_environment, $after_name, $after_id, $after_run)
    )
ORDER BY
    number,
    CASE WHEN $sign > 0 THEN text END,
    CASE WHEN $sign < 0 THEN text END DESC,
    environment, name, id, run
LIMIT $limit

-- name: count_periods
-- `at` is 0 outside the window
SELECT
    'started' AS kind, status AS name,
    CASE WHEN started_at BETWEEN $from AND $to THEN started_at // $period * $period ELSE 0 END AS "at",
    count(*)
FROM found
GROUP BY ALL
UNION ALL
SELECT
    'attention', found.attention,
    CASE WHEN since BETWEEN $from AND $to THEN since // $period * $period ELSE 0 END AS "at",
    count(*)
FROM found
LEFT JOIN incident_sagas USING (environment, name, id, run)
WHERE found.attention IS NOT NULL
GROUP BY ALL
ORDER BY ALL

-- name: sum_matching_amounts
SELECT currency, sum(certain), sum(possible), max(places)
FROM incident_amounts
SEMI JOIN (
    SELECT environment, id, incident FROM incident_sagas SEMI JOIN found USING (environment, name, id, run)
) AS wanted USING (environment, id, incident)
GROUP BY currency
ORDER BY currency

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
    CASE
        WHEN id = $text THEN 'id'
        WHEN contains(keys, $member) THEN 'key'
        WHEN starts_with(id, $text) THEN 'prefix'
        ELSE 'key_prefix'
    END AS kind,
    * EXCLUDE (id_hash, bounds)
FROM open_sagas
WHERE starts_with(id, $text) OR contains(keys, $beginning)
ORDER BY (kind = 'id') DESC, (kind = 'key') DESC, (kind = 'prefix') DESC, started_at DESC, environment, name, id, run
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
-- keys of the newest sagas only: to read those of all takes long
SELECT CASE WHEN starts_with(id, $text) THEN 'prefix' ELSE 'key_prefix' END AS kind, * EXCLUDE (batch, id_hash, bounds)
FROM ended_sagas
WHERE rowid IN (
    SELECT rowid FROM ended_sagas
    WHERE starts_with(id, $text)
        OR (rowid >= (SELECT max(rowid) FROM ended_sagas) - $newest::BIGINT AND contains(keys, $beginning))
    ORDER BY starts_with(id, $text) DESC, started_at DESC, environment, name, id, run
    LIMIT $limit
)
