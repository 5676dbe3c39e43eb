-- name: count_recent_spans
SELECT count(*), count(*) FILTER (saga_id = '') FROM span_records WHERE seq > $after::UBIGINT

-- name: select_unassigned_attributes
-- the attributes of recent spans in no saga whose values look like ids: how many values each has, on how many spans, in
-- how many traces, how many of them several services have, how many services have one, and an example
WITH pairs AS (
    SELECT
        trace_id,
        service,
        unnest(from_json(attribute_keys, '["VARCHAR"]')) AS key,
        unnest(from_json(attribute_values, '["JSON"]'))::VARCHAR AS value
    FROM span_records JOIN origins USING (origin_id)
    WHERE seq > $after::UBIGINT AND saga_id = '' AND attribute_keys <> '[]'
),
by_value AS (
    SELECT key, value, count(*) AS spans, count(DISTINCT trace_id) AS traces, list(DISTINCT service) AS services
    FROM pairs
    WHERE NOT regexp_matches(key, $excluded)
        AND regexp_full_match(value, '"[^"\\\s]{1,100}"|[0-9]{1,30}') AND regexp_matches(value, '[0-9]')
    GROUP BY key, value
)
SELECT
    key,
    count(*),
    sum(spans)::BIGINT,
    sum(traces)::BIGINT,
    count_if(len(services) > 1),
    len(list_distinct(flatten(list(services)))),
    min(value)
FROM by_value
GROUP BY key
HAVING sum(traces) <= count(*) * $max_traces
ORDER BY count(*) DESC, key
LIMIT $limit
