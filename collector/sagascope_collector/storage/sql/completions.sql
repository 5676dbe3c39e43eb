-- name: select_clean_completions
-- the sagas whose spans are consistent with a clean completion, one row each
WITH found AS (
    SELECT
        number, trace_id || span_id AS span, start, "end", saga_name, saga_run, saga_role, step_key, step_attempt, service,
        {'keys': attribute_keys, 'values': attribute_values} AS attributes,
        contains(attribute_keys, '"saga.key.') AS is_keyed,
        coalesce(nullif(step_name, ''), span_records.name) AS step,
        "end" >= start AND start > 946684800000000000
            AND saga_role IN ('', 'saga', 'step')
            AND step_type IN ('', 'action')
            AND NOT (status = 'error' AND saga_role <> '')
            AND NOT contains(events, 'exception')
            AND regexp_matches(attribute_keys, '[\[,]0[,\]]')
            AND NOT contains(attribute_keys, '"saga.step.compensates"')
            AND NOT contains(attribute_keys, '"logfire.')
            AND NOT contains(attribute_keys, '"partial.') AS is_plain
    FROM span_records
    JOIN origins USING (origin_id)
    JOIN wanted ON wanted.id = saga_id AND wanted.environment = origins.environment
    WHERE seq >= $first::UBIGINT AND seq <= $last::UBIGINT
)
SELECT
    number,
    min(saga_run),
    coalesce(max(nullif(saga_name, '')), ''),
    list(step ORDER BY start, step) FILTER (saga_role = 'step'),
    list(service ORDER BY start, service) FILTER (service <> ''),
    max(start) FILTER (saga_role = 'saga'),
    max("end") FILTER (saga_role = 'saga'),
    max("end"),
    any_value(attributes) FILTER (saga_role = 'saga'),
    list(attributes ORDER BY start, span) FILTER (is_keyed),
    list(span)
FROM found
GROUP BY number
HAVING bool_and(is_plain)
    AND count_if(saga_role = 'saga') = 1
    AND min(saga_run) = max(saga_run)
    AND min(nullif(saga_name, '')) IS NOT DISTINCT FROM max(nullif(saga_name, ''))
    -- each step must have one attempt, reported once by each service
    AND count(DISTINCT (step, step_key, service)) FILTER (saga_role = 'step') = count_if(saga_role = 'step')
    AND count(DISTINCT (step, step_key, step_attempt)) FILTER (saga_role = 'step')
        = count(DISTINCT (step, step_key)) FILTER (saga_role = 'step')

-- name: select_logs_of_completions
-- the log records of these sagas, one row for each saga
SELECT
    number,
    max("at"),
    list({'keys': attribute_keys, 'values': attribute_values}
        ORDER BY "at", observed_at, trace_id, span_id, event_name, identity)
        FILTER (contains(attribute_keys, '"saga.key.')),
    list(trace_id || span_id) FILTER (event_name = 'sagascope.span.start'),
    min(saga_run),
    coalesce(max(nullif(saga_name, '')), ''),
    min(saga_run) = max(saga_run)
        AND min(nullif(saga_name, '')) IS NOT DISTINCT FROM max(nullif(saga_name, ''))
        AND bool_and(
            regexp_matches(attribute_keys, '[\[,]0[,\]]')
            AND NOT contains(attribute_keys, '"logfire.')
            AND NOT contains(attribute_keys, '"partial.')
        )
FROM log_records
JOIN origins USING (origin_id)
JOIN wanted ON wanted.id = saga_id AND wanted.environment = origins.environment
WHERE seq >= $first::UBIGINT AND seq <= $last::UBIGINT
GROUP BY number

-- name: select_linked_completions
SELECT DISTINCT number
FROM linked_spans JOIN wanted ON wanted.id = saga_id AND wanted.environment = linked_spans.environment
WHERE seq >= $first::UBIGINT AND seq <= $last::UBIGINT
