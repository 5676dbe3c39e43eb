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
named AS (
    SELECT tries.* EXCLUDE (start), begun.name, tries.start, (tries.start - begun.start)::DOUBLE AS place
    FROM tries
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
