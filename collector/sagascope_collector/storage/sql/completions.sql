-- name: select_clean_completions
WITH found AS MATERIALIZED (
    SELECT
        number, trace_id, span_id, start, "end", status, events, saga_name, saga_run, saga_role, step_key, step_attempt,
        step_type, attribute_keys, attribute_values, service,
        coalesce(nullif(step_name, ''), span_records.name) AS step
    FROM span_records
    JOIN origins USING (origin_id)
    JOIN wanted ON wanted.id = saga_id AND wanted.environment = origins.environment
    WHERE seq >= $first::UBIGINT AND seq <= $last::UBIGINT
),
logged AS MATERIALIZED (
    SELECT
        number, "at", observed_at, trace_id, span_id, event_name, saga_name, saga_run, attribute_keys, attribute_values,
        identity
    FROM log_records
    JOIN origins USING (origin_id)
    JOIN wanted ON wanted.id = saga_id AND wanted.environment = origins.environment
    WHERE seq >= $first::UBIGINT AND seq <= $last::UBIGINT
),
-- the saga attributes of its spans, merged
said AS (
    SELECT
        number,
        any_value(saga_run) AS run,
        coalesce(any_value(nullif(saga_name, '')), '') AS name,
        max("end") AS updated_at,
        max(start) FILTER (saga_role = 'saga') AS started_at,
        max("end") FILTER (saga_role = 'saga') AS ended_at,
        any_value({'keys': attribute_keys, 'values': attribute_values}) FILTER (saga_role = 'saga') AS root,
        list({'keys': attribute_keys, 'values': attribute_values} ORDER BY start, trace_id, span_id)
            FILTER (contains(attribute_keys, '"saga.key.')) AS keyed
    FROM found
    GROUP BY number
    HAVING count_if(saga_role = 'saga') = 1
        AND count(DISTINCT saga_run) = 1
        AND count(DISTINCT nullif(saga_name, '')) <= 1
        AND count(DISTINCT trace_id || span_id) = count(*)
        AND bool_and(
            "end" >= start AND start > 946684800000000000
            AND saga_role IN ('', 'saga', 'step')
            AND step_type IN ('', 'action')
            AND NOT (status = 'error' AND saga_role <> '')
            AND NOT contains(events, 'exception')
            AND regexp_matches(attribute_keys, '[\[,]0[,\]]')
            AND NOT contains(attribute_keys, '"saga.step.compensates"')
            AND NOT contains(attribute_keys, '"logfire.')
            AND NOT contains(attribute_keys, '"partial.')
        )
),
-- each step must have one attempt, reported once by each service
views AS (
    SELECT number, step, step_key, step_attempt, service, count(*) AS times, min(start) AS start
    FROM found
    WHERE saga_role = 'step'
    GROUP BY ALL
),
attempts AS (
    SELECT number, step, step_key, count(DISTINCT step_attempt) AS attempts, max(times) AS times, min(start) AS start
    FROM views
    GROUP BY number, step, step_key
),
steps AS (
    SELECT number, list(step ORDER BY start, step) AS steps, bool_and(is_single) AS are_single
    FROM (
        SELECT number, step, min(start) AS start, bool_and(attempts = 1 AND times = 1) AS is_single
        FROM attempts
        GROUP BY number, step
    )
    GROUP BY number
),
services AS (
    SELECT number, list(service ORDER BY start, service) AS services
    FROM (SELECT number, service, min(start) AS start FROM found WHERE service <> '' GROUP BY number, service)
    GROUP BY number
),
notes AS (
    SELECT
        number,
        max("at") AS updated_at,
        list({'keys': attribute_keys, 'values': attribute_values}
            ORDER BY "at", observed_at, trace_id, span_id, event_name, identity)
            FILTER (contains(attribute_keys, '"saga.key.')) AS keyed,
        any_value(saga_run) AS run,
        count(DISTINCT saga_run) AS runs,
        coalesce(any_value(nullif(saga_name, '')), '') AS name,
        count(DISTINCT nullif(saga_name, '')) AS names,
        bool_and(
            regexp_matches(attribute_keys, '[\[,]0[,\]]')
            AND NOT contains(attribute_keys, '"logfire.')
            AND NOT contains(attribute_keys, '"partial.')
        ) AS are_plain
    FROM logged
    GROUP BY number
),
-- spans that were announced and not received, or not in this saga
announced AS (
    SELECT DISTINCT number
    FROM logged ANTI JOIN found USING (number, trace_id, span_id)
    WHERE event_name = 'sagascope.span.start'
),
linked AS (
    SELECT DISTINCT number
    FROM linked_spans JOIN wanted ON wanted.id = saga_id AND wanted.environment = linked_spans.environment
    WHERE seq >= $first::UBIGINT AND seq <= $last::UBIGINT
)
SELECT
    said.number, said.run, said.name, steps, services, started_at, ended_at,
    greatest(said.updated_at, coalesce(notes.updated_at, 0)), root, notes.keyed, said.keyed
FROM said
LEFT JOIN steps USING (number)
LEFT JOIN services USING (number)
LEFT JOIN notes USING (number)
ANTI JOIN announced USING (number)
ANTI JOIN linked USING (number)
WHERE coalesce(are_single, TRUE)
    AND (notes.number IS NULL OR (
        are_plain AND runs = 1 AND notes.run = said.run AND names <= 1 AND notes.name IN ('', said.name)
    ))
