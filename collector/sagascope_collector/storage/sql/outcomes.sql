-- name: add_outcome_counts
INSERT INTO outcome_counts
SELECT environment, name, ended_at // 60_000_000_000 * 60 AS slot, count(*), count_if(status <> 'completed')
FROM ended
GROUP BY ALL
ON CONFLICT DO UPDATE SET ended = outcome_counts.ended + excluded.ended, failed = outcome_counts.failed + excluded.failed

-- name: subtract_outcome_counts
INSERT INTO outcome_counts
SELECT environment, name, ended_at // 60_000_000_000 * 60 AS slot, -count(*), -count_if(status <> 'completed')
FROM gone
GROUP BY ALL
ON CONFLICT DO UPDATE SET ended = outcome_counts.ended + excluded.ended, failed = outcome_counts.failed + excluded.failed

-- name: select_failing_types
SELECT environment, name
FROM (
    SELECT environment, name, failed FROM outcome_counts WHERE slot >= $since
    UNION ALL
    SELECT environment, name, 1
    FROM open_sagas
    WHERE ended_at >= $since::BIGINT * 1_000_000_000 AND status IN ('failed', 'compensated') AND attention IS NULL
)
GROUP BY environment, name
HAVING sum(failed) >= $failed

-- name: select_outcome_counts
-- by minute since `recent`, by hour before it; sagas that need attention belong to other incidents
SELECT
    environment,
    name,
    CASE WHEN slot >= $recent THEN slot ELSE slot // 3600 * 3600 END AS period,
    sum(ended)::BIGINT,
    sum(failed)::BIGINT,
    sum(running)::BIGINT
FROM (
    SELECT environment, name, slot, ended, failed, 0 AS running FROM outcome_counts WHERE slot >= $oldest
    UNION ALL
    SELECT environment, name, ended_at // 60_000_000_000 * 60, 1, (status <> 'completed')::BIGINT, 0
    FROM open_sagas
    WHERE ended_at >= $oldest::BIGINT * 1_000_000_000 AND attention IS NULL
    UNION ALL
    SELECT environment, name, started_at // 60_000_000_000 * 60, 0, 0, 1
    FROM open_sagas
    WHERE ended_at IS NULL AND started_at >= $recent::BIGINT * 1_000_000_000
)
SEMI JOIN wanted USING (environment, name)
GROUP BY environment, name, period
HAVING sum(ended) > 0 OR sum(running) > 0
ORDER BY ALL

-- name: select_failed
SELECT id, run, ended_at
FROM (
    SELECT environment, name, id, run, status, attention, ended_at FROM open_sagas
    UNION ALL
    SELECT environment, name, id, run, status, attention, ended_at FROM ended_sagas
)
WHERE environment = $environment AND name = $name AND status IN ('failed', 'compensated') AND attention IS NULL
    AND ended_at >= $since AND ended_at <= $until
ORDER BY ended_at DESC, id, run
LIMIT $limit

-- name: age_outcome_counts
INSERT INTO outcome_counts
SELECT environment, name, slot // 3600 * 3600, sum(ended), sum(failed)
FROM outcome_counts
WHERE slot < $before AND slot % 3600 <> 0
GROUP BY ALL
ON CONFLICT DO UPDATE SET ended = outcome_counts.ended + excluded.ended, failed = outcome_counts.failed + excluded.failed

-- name: delete_aged_outcome_counts
DELETE FROM outcome_counts WHERE slot < $oldest OR (slot < $before AND slot % 3600 <> 0)

-- name: select_step_counts
-- attempts, by five minutes since `recent`, by hour before it
SELECT
    environment,
    name,
    step,
    CASE WHEN slot >= $recent THEN slot ELSE slot // 3600 * 3600 END AS period,
    sum(succeeded + failed)::BIGINT,
    sum(failed)::BIGINT
FROM step_counts
SEMI JOIN (
    SELECT environment, name, step
    FROM step_counts
    WHERE type = 'action' AND slot >= $recent
    GROUP BY environment, name, step
    HAVING sum(failed) >= $failed
) AS failing USING (environment, name, step)
WHERE type = 'action' AND slot >= $oldest
GROUP BY environment, name, step, period
HAVING sum(succeeded + failed) > 0
ORDER BY ALL

-- name: select_step_sagas
-- counts sagas, not attempts, so that endless retries count once; a span without a saga name gets it from the summary
SELECT (start // 300_000_000_000 * 300)::BIGINT AS slot, count(*), count_if(has_failed)
FROM (
    SELECT saga_id, saga_run, min(start) AS start, bool_or(status = 'error') AS has_failed
    FROM (FROM span_records UNION ALL FROM long_running_spans) AS spans JOIN origins USING (origin_id)
    WHERE start >= $since::UBIGINT AND start <= $until::UBIGINT AND environment = $environment AND saga_id <> ''
        AND coalesce(nullif(step_name, ''), spans.name) = $step
        AND saga_role = 'step' AND step_type IN ('', 'action') AND "end" > 0
        AND (saga_name = $name OR (saga_name = '' AND saga_id IN (
            SELECT id FROM open_sagas WHERE environment = $environment AND name = $name
            UNION ALL
            SELECT id FROM ended_sagas WHERE environment = $environment AND name = $name AND updated_at >= $since::BIGINT
        )))
    GROUP BY saga_id, saga_run
)
GROUP BY slot
ORDER BY slot

-- name: select_failed_at_step
SELECT saga_id, saga_run, max("end")::BIGINT AS ended_at
FROM (FROM span_records UNION ALL FROM long_running_spans) AS spans JOIN origins USING (origin_id)
WHERE start >= $since::UBIGINT AND start <= $until::UBIGINT AND environment = $environment AND saga_id <> ''
    AND coalesce(nullif(step_name, ''), spans.name) = $step
    AND saga_role = 'step' AND step_type IN ('', 'action') AND "end" > 0 AND status = 'error'
    AND (saga_name = $name OR (saga_name = '' AND saga_id IN (
        SELECT id FROM open_sagas WHERE environment = $environment AND name = $name
        UNION ALL
        SELECT id FROM ended_sagas WHERE environment = $environment AND name = $name AND updated_at >= $since::BIGINT
    )))
GROUP BY saga_id, saga_run
ORDER BY ended_at DESC, saga_id, saga_run
LIMIT $limit
