-- Sagas that ended plainly: one root that has ended, one name and run, every span final and told by our own attributes,
-- steps forward only and none with two attempts that may both have succeeded. What the root's attributes say against it
-- is for the caller to read. Texts come as numbers: a GROUP BY of numbers costs a fifth.
WITH views AS (
    SELECT saga, step, step_key, attempt, service, count(*) AS spans, bool_or(NOT failed) AS lasts
    FROM told
    WHERE is_attempt
    GROUP BY ALL
),
attempts AS (
    SELECT saga, step, step_key, attempt, max(spans) AS spans, bool_or(lasts) AS lasts
    FROM views
    GROUP BY ALL
),
steps AS (
    SELECT saga, step, step_key, count(*) AS tries, max(spans) AS spans, count_if(lasts) AS lasting, min(attempt) AS least
    FROM attempts
    GROUP BY ALL
),
tried AS (
    SELECT
        saga,
        bool_and(spans = 1) AS is_single,
        bool_and(tries = 1) AS is_once,
        bool_and(tries = 1 OR (lasting <= 1 AND least > 0)) AS is_retried_at_most
    FROM steps
    GROUP BY saga
),
whole AS (
    SELECT
        saga,
        max(name) AS name,
        max(run) AS run,
        min(place) FILTER (is_root) AS root,
        max("end") AS updated_at,
        bool_or(is_received) AS is_received,
        bool_and(is_plain) AND count_if(is_root) = 1 AND min("end") > 0 AND min(run) = max(run)
            AND coalesce(min(nullif(name, 0)) = max(name), TRUE) AS is_plain
    FROM told
    GROUP BY saga
),
logged AS (
    SELECT
        saga,
        max("at") AS last_at,
        bool_and(is_plain) AS is_plain,
        min(run) AS first_run,
        max(run) AS last_run,
        min(nullif(name, 0)) AS first_name,
        max(nullif(name, 0)) AS last_name
    FROM logs
    GROUP BY saga
)
SELECT saga, root, name, greatest(updated_at, coalesce(last_at, 0)) AS updated_at
FROM whole
LEFT JOIN tried USING (saga)
LEFT JOIN logged USING (saga)
ANTI JOIN doubtful USING (saga)
WHERE whole.is_plain
    AND coalesce(is_single AND (is_once OR (is_retried_at_most AND NOT is_received)), TRUE)
    AND coalesce(logged.is_plain AND first_run = run AND last_run = run, TRUE)
    AND coalesce(first_name = name AND last_name = name, TRUE)
ORDER BY saga
