-- name: select_counted_seq
SELECT counted_seq FROM state

-- name: update_counted_seq
UPDATE state SET counted_seq = $seq

-- name: count_attempts
-- one row per attempt: of its spans, the last started one is the executor's and takes precedence
WITH told AS MATERIALIZED (
    SELECT span_records.*, environment
    FROM span_records JOIN origins USING (origin_id)
    WHERE seq > $after::UBIGINT AND seq <= $through::UBIGINT AND saga_id <> '' AND saga_role <> ''
),
started AS (
    SELECT environment, saga_id, saga_run, min(start) AS start, max(saga_name) AS name
    FROM told
    GROUP BY ALL
),
attempts AS (
    SELECT
        environment, saga_id, saga_run,
        coalesce(nullif(step_name, ''), told.name) AS step,
        coalesce(nullif(step_type, ''), 'action') AS type,
        step_attempt AS attempt,
        min(start) AS start,
        max_by(CASE WHEN "end" > start THEN "end" - start ELSE 1 END, start) AS took,
        max_by(status, start) AS status,
        max_by(
            CASE
                WHEN step_type = 'compensation' AND contains(attribute_keys, '"saga.step.compensates"') THEN
                    json_extract_string(
                        attributes_object(attribute_keys, attribute_values, ['null'::JSON] || list_transform(
                            generate_series(1, 7), lambda number: 'null'::JSON
                        )), '$."saga.step.compensates"'
                    )
            END, start
        ) AS compensates
    FROM told
    WHERE saga_role = 'step' AND "end" > 0
    GROUP BY environment, saga_id, saga_run, step, type, step_key, attempt
),
following AS (
    SELECT
        environment, saga_id, saga_run, step, start,
        lag(step) OVER chain AS before,
        lag(status) OVER chain AS left_as,
        lag(start::HUGEINT + took) OVER chain AS left_at
    FROM attempts
    WINDOW chain AS (PARTITION BY environment, saga_id, saga_run ORDER BY start, step)
),
-- from the end of a successful step to the start of another; concurrent steps have no transition
transitions AS (
    SELECT
        environment, saga_id, saga_run,
        before || chr(31) || step AS step,
        'transition' AS type,
        NULL::BIGINT AS attempt,
        start,
        CASE WHEN start > left_at THEN (start - left_at)::UBIGINT ELSE 1 END AS took,
        'ok' AS status,
        NULL::VARCHAR AS compensates
    FROM following
    WHERE before <> step AND left_as <> 'error' AND start >= left_at
),
named AS (
    SELECT every.* EXCLUDE (start), started.name, every.start, (every.start - started.start)::DOUBLE AS position
    FROM (FROM attempts UNION ALL BY NAME FROM transitions) AS every
    JOIN started USING (environment, saga_id, saga_run)
),
-- saga types with more steps have ids in their step names
known AS (
    SELECT environment, name, step, type FROM named GROUP BY ALL ORDER BY count(*) DESC LIMIT $limit
),
counted AS (
    SELECT
        environment,
        coalesce(nullif(name, ''), 'unknown') AS name,
        step,
        type,
        (start // 300_000_000_000 * 300)::BIGINT AS slot,
        CASE WHEN status = 'error' THEN NULL ELSE floor(8 * log2(took::DOUBLE))::SMALLINT END AS bucket,
        count(*) AS attempts,
        count(*) FILTER (attempt > 1) AS retried,
        0::BIGINT AS compensated,
        -- first attempts only: endless retries would distort the position of their step
        coalesce(sum(position) FILTER (attempt IS NULL OR attempt <= 1), 0) AS position
    FROM named
    SEMI JOIN known USING (environment, name, step, type)
    GROUP BY ALL
),
-- successful compensations, counted for the steps that they compensate
compensated AS (
    SELECT
        environment,
        coalesce(nullif(name, ''), 'unknown') AS name,
        compensates AS step,
        'action' AS type,
        (start // 300_000_000_000 * 300)::BIGINT AS slot,
        NULL::SMALLINT AS bucket,
        0::BIGINT AS attempts,
        0::BIGINT AS retried,
        count(*) AS compensated,
        0::DOUBLE AS position
    FROM named
    WHERE compensates <> '' AND status <> 'error'
    GROUP BY ALL
)
FROM counted UNION ALL FROM compensated

-- name: put_step_counts
INSERT INTO step_counts
SELECT
    environment, name, step, type, slot,
    coalesce(sum(attempts) FILTER (bucket IS NOT NULL), 0),
    coalesce(sum(attempts) FILTER (bucket IS NULL), 0),
    sum(retried),
    sum(compensated),
    sum(position)
FROM counted
GROUP BY ALL
ON CONFLICT DO UPDATE SET
    succeeded = succeeded + excluded.succeeded,
    failed = failed + excluded.failed,
    retried = retried + excluded.retried,
    compensated = compensated + excluded.compensated,
    position = position + excluded.position

-- name: put_step_durations
INSERT INTO step_durations
SELECT environment, name, step, type, slot, bucket, sum(attempts)
FROM counted
WHERE bucket IS NOT NULL AND attempts > 0
GROUP BY ALL
ON CONFLICT DO UPDATE SET attempts = attempts + excluded.attempts

-- name: age_step_counts
INSERT INTO step_counts
SELECT
    environment, name, step, type, slot // 3600 * 3600,
    sum(succeeded), sum(failed), sum(retried), sum(compensated), sum(position)
FROM step_counts
WHERE slot < $before AND slot % 3600 <> 0
GROUP BY ALL
ON CONFLICT DO UPDATE SET
    succeeded = succeeded + excluded.succeeded,
    failed = failed + excluded.failed,
    retried = retried + excluded.retried,
    compensated = compensated + excluded.compensated,
    position = position + excluded.position

-- name: age_step_durations
INSERT INTO step_durations
SELECT environment, name, step, type, slot // 3600 * 3600, bucket, sum(attempts)
FROM step_durations
WHERE slot < $before AND slot % 3600 <> 0
GROUP BY ALL
ON CONFLICT DO UPDATE SET attempts = attempts + excluded.attempts

-- name: delete_aged_step_counts
DELETE FROM step_counts WHERE slot < $oldest OR (slot < $before AND slot % 3600 <> 0)

-- name: delete_aged_step_durations
DELETE FROM step_durations WHERE slot < $oldest OR (slot < $before AND slot % 3600 <> 0)

-- name: select_step_counts
SELECT
    step, type, slot // $width * $width AS period,
    sum(succeeded), sum(failed), sum(retried), sum(compensated), sum(position)
FROM (
    SELECT environment, name, step, type, slot, succeeded, failed, retried, compensated, position FROM step_counts
    UNION ALL
    SELECT
        environment, name, step, type, slot,
        CASE WHEN bucket IS NULL THEN 0 ELSE attempts END,
        CASE WHEN bucket IS NULL THEN attempts ELSE 0 END,
        retried, compensated, position
    FROM recent
)
WHERE name = $name AND slot >= $since AND ($environment IS NULL OR environment = $environment)
GROUP BY step, type, period
ORDER BY step, type, period

-- name: select_step_durations
SELECT step, type, slot // $width * $width AS period, bucket, sum(attempts)
FROM (
    SELECT environment, name, step, type, slot, bucket, attempts FROM step_durations
    UNION ALL
    SELECT environment, name, step, type, slot, bucket, attempts FROM recent WHERE bucket IS NOT NULL
)
WHERE name = $name AND slot >= $since AND ($environment IS NULL OR environment = $environment)
GROUP BY ALL
HAVING sum(attempts) > 0
ORDER BY ALL

-- name: count_current_steps
-- open sagas, by their current step
SELECT step, count(*)
FROM open_sagas
WHERE name = $name AND ended_at IS NULL AND step IS NOT NULL AND ($environment IS NULL OR environment = $environment)
GROUP BY step

-- name: count_paths
-- the latest saga of each path is read by its row number: to carry ids through the aggregation takes twice as long
WITH counted AS MATERIALIZED (
    SELECT
        steps, count(*) AS sagas, count_if(status = 'completed') AS completed,
        arg_max(2 * row_number + has_ended::BIGINT, started_at) AS latest
    FROM (
        SELECT rowid AS row_number, FALSE AS has_ended, steps, status, started_at FROM open_sagas
        WHERE name = $name AND ($environment IS NULL OR environment = $environment)
            AND started_at >= $since::BIGINT AND ended_at IS NOT NULL
        UNION ALL
        SELECT rowid, TRUE, steps, status, started_at FROM ended_sagas
        WHERE name = $name AND ($environment IS NULL OR environment = $environment) AND started_at >= $since::BIGINT
    )
    GROUP BY steps
    ORDER BY sagas DESC, steps
    LIMIT $limit
)
SELECT steps, sagas, completed, environment, id
FROM counted
JOIN (
    SELECT 2 * rowid AS latest, environment, id FROM open_sagas
    WHERE rowid IN (SELECT latest // 2 FROM counted WHERE latest % 2 = 0)
    UNION ALL
    SELECT 2 * rowid + 1, environment, id FROM ended_sagas
    WHERE rowid IN (SELECT latest // 2 FROM counted WHERE latest % 2 = 1)
) USING (latest)
ORDER BY sagas DESC, steps

-- name: count_spans_since
SELECT count(*) FROM (FROM span_records UNION ALL FROM long_running_spans)
WHERE received_at >= $since::BIGINT AND start >= $since::UBIGINT

-- name: count_calls
-- spans whose parent is a span of another service, of every n-th trace
WITH sampled AS MATERIALIZED (
    SELECT trace_id, span_id, parent_id, service, status, CASE WHEN "end" > start THEN "end" - start END AS took
    FROM (FROM span_records UNION ALL FROM long_running_spans) JOIN origins USING (origin_id)
    WHERE received_at >= $since::BIGINT AND start >= $since::UBIGINT AND hash(trace_id) % $n::UBIGINT = 0
        AND ($environment IS NULL OR environment = $environment)
)
SELECT
    caller.service, called.service, count(*) * $n::BIGINT, count_if(called.status = 'error')::BIGINT * $n::BIGINT,
    quantile_cont(took / 1e9, 0.95), $n::BIGINT
FROM (SELECT trace_id, span_id, any_value(service) AS service FROM sampled GROUP BY ALL) AS caller
JOIN sampled AS called ON called.trace_id = caller.trace_id AND called.parent_id = caller.span_id
WHERE caller.service <> called.service
GROUP BY caller.service, called.service
ORDER BY count(*) DESC, caller.service, called.service
LIMIT 500
