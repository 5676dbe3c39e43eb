-- one row an attempt: of its views the last begun is the executor's, which outranks the others
WITH begun AS (
    SELECT environment, saga_id, saga_run, min(start) AS start, max(saga_name) AS name
    FROM told
    WHERE saga_id <> ''
    GROUP BY ALL
),
tries AS (
    SELECT
        environment, saga_id, saga_run,
        coalesce(nullif(step_name, ''), told.name) AS step,
        coalesce(nullif(step_type, ''), 'action') AS type,
        step_attempt AS attempt,
        min(start) AS start,
        max_by(CASE WHEN "end" > start THEN "end" - start ELSE 1 END, start) AS took,
        max_by(status, start) AS status
    FROM told
    WHERE saga_role = 'step' AND saga_id <> '' AND "end" > 0
    GROUP BY environment, saga_id, saga_run, step, type, step_key, attempt
),
following AS (
    SELECT
        environment, saga_id, saga_run, step, start,
        lag(step) OVER chain AS before,
        lag(status) OVER chain AS left_as,
        lag(start::HUGEINT + took) OVER chain AS left_at
    FROM tries
    WINDOW chain AS (PARTITION BY environment, saga_id, saga_run ORDER BY start, step)
),
-- from the end of a step that succeeded to the beginning of another; what runs beside it follows nothing
hand_overs AS (
    SELECT
        environment, saga_id, saga_run,
        before || chr(31) || step AS step,
        'hand_over' AS type,
        NULL::BIGINT AS attempt,
        start,
        CASE WHEN start > left_at THEN (start - left_at)::UBIGINT ELSE 1 END AS took,
        'ok' AS status
    FROM following
    WHERE before <> step AND left_as <> 'error' AND start >= left_at
),
named AS (
    SELECT every.* EXCLUDE (start), begun.name, every.start, (every.start - begun.start)::DOUBLE AS place
    FROM (FROM tries UNION ALL BY NAME FROM hand_overs) AS every
    JOIN begun USING (environment, saga_id, saga_run)
),
-- what has more steps than this has ids for their names
known AS (
    SELECT environment, name, step, type FROM named GROUP BY ALL ORDER BY count(*) DESC LIMIT $most
)
SELECT
    environment,
    coalesce(nullif(name, ''), 'unknown') AS name,
    step,
    type,
    (start // 300_000_000_000 * 300)::BIGINT AS slot,
    CASE WHEN status = 'error' THEN NULL ELSE floor(8 * log2(took::DOUBLE))::SMALLINT END AS bucket,
    count(*) AS attempts,
    count(*) FILTER (attempt > 1) AS retried,
    0::BIGINT AS undone,
    -- of first attempts: a retry that goes on for ever says nothing of where its step stands
    coalesce(sum(place) FILTER (attempt IS NULL OR attempt <= 1), 0) AS place
FROM named
SEMI JOIN known USING (environment, name, step, type)
GROUP BY ALL
