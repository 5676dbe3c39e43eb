-- name: select_origins
SELECT * FROM origins ORDER BY origin_id

-- name: select_linked_bounds
SELECT min(seq), max(seq) FROM linked_spans

-- name: insert_commit
INSERT INTO commits VALUES ($seq, $received, $stored, $rejected, $duplicate, $observations)

-- name: select_state
SELECT seq, received, stored, rejected, duplicate FROM state

-- name: select_commits
SELECT seq, received, stored, rejected, duplicate, observations FROM commits ORDER BY seq

-- name: update_state
UPDATE state
SET seq = $seq, received = $received, stored = $stored, rejected = $rejected, duplicate = $duplicate

-- name: delete_commits
DELETE FROM commits WHERE seq <= $seq

-- name: delete_changed
DELETE FROM changed_sagas

-- name: insert_changed
INSERT INTO changed_sagas SELECT * FROM changed

-- name: select_changed
SELECT environment, id, bounds FROM changed_sagas

-- name: select_sagas_since
-- after a restart: the sagas with records in commits that `state` does not include
SELECT environment, saga_id, seq, count(*)
FROM (
    SELECT origin_id, saga_id, seq FROM span_records WHERE seq > $seq::UBIGINT AND saga_id <> ''
    UNION ALL
    SELECT origin_id, saga_id, seq FROM log_records WHERE seq > $seq::UBIGINT AND saga_id <> ''
)
JOIN origins USING (origin_id)
GROUP BY ALL
UNION ALL
SELECT environment, saga_id, seq, count(*) FROM linked_spans WHERE seq > $seq::UBIGINT GROUP BY ALL
ORDER BY seq

-- name: select_spans_of_one
-- values are cast: an untyped parameter switches the pruning of row groups off in DuckDB 1.5
SELECT * FROM span_records WHERE saga_id = $id AND seq >= $first::UBIGINT AND seq <= $last::UBIGINT

-- name: select_spans_of_many
SELECT * FROM span_records
WHERE seq >= $first::UBIGINT AND seq <= $last::UBIGINT AND saga_id IN (SELECT id FROM wanted)

-- name: select_logs_of_one
SELECT * FROM log_records WHERE saga_id = $id AND seq >= $first::UBIGINT AND seq <= $last::UBIGINT

-- name: select_logs_of_many
SELECT * FROM log_records
WHERE seq >= $first::UBIGINT AND seq <= $last::UBIGINT AND saga_id IN (SELECT id FROM wanted)

-- name: select_links_of_one
SELECT * FROM linked_spans WHERE saga_id = $id AND seq >= $first::UBIGINT AND seq <= $last::UBIGINT

-- name: select_links_of_many
SELECT * FROM linked_spans
WHERE seq >= $first::UBIGINT AND seq <= $last::UBIGINT AND saga_id IN (SELECT id FROM wanted)

-- name: select_moved_spans
SELECT * FROM long_running_spans WHERE seq = $move::UBIGINT AND saga_id = $id

-- name: select_moved_logs
SELECT * FROM long_running_logs WHERE seq = $move::UBIGINT AND saga_id = $id

-- name: select_linked
-- the spans that have links, in any saga or none; each is in the commit of its links
SELECT * FROM span_records
WHERE seq >= $first::UBIGINT AND seq <= $last::UBIGINT AND (trace_id, span_id) IN (SELECT (trace_id, span_id) FROM wanted)

-- name: count_spans_of_one
SELECT count(*) FROM span_records WHERE saga_id = $id AND seq >= $first::UBIGINT AND seq <= $last::UBIGINT

-- name: count_logs_of_one
SELECT count(*) FROM log_records WHERE saga_id = $id AND seq >= $first::UBIGINT AND seq <= $last::UBIGINT

-- name: select_sagas_of_trace
SELECT DISTINCT environment, saga_id
FROM (
    SELECT origin_id, saga_id FROM span_records
    WHERE trace_id = $id AND seq >= $first::UBIGINT AND seq <= $last::UBIGINT
    UNION ALL
    SELECT origin_id, saga_id FROM log_records
    WHERE trace_id = $id AND seq >= $first::UBIGINT AND seq <= $last::UBIGINT
)
JOIN origins USING (origin_id)
UNION
SELECT environment, saga_id FROM linked_spans
WHERE trace_id = $id AND seq >= $first::UBIGINT AND seq <= $last::UBIGINT

-- name: select_long_running_of_trace
SELECT DISTINCT environment, saga_id
FROM (
    SELECT origin_id, saga_id FROM long_running_spans WHERE trace_id = $id
    UNION ALL SELECT origin_id, saga_id FROM long_running_logs WHERE trace_id = $id
)
JOIN origins USING (origin_id)

-- name: select_sagas_of_span
SELECT DISTINCT environment, saga_id
FROM (
    SELECT origin_id, saga_id FROM span_records WHERE span_id = $id
    UNION ALL SELECT origin_id, saga_id FROM log_records WHERE span_id = $id
    UNION ALL SELECT origin_id, saga_id FROM long_running_spans WHERE span_id = $id
    UNION ALL SELECT origin_id, saga_id FROM long_running_logs WHERE span_id = $id
)
JOIN origins USING (origin_id)
UNION
SELECT environment, saga_id FROM linked_spans WHERE span_id = $id

-- name: select_sagas_with_text
-- the sagas with an error message or a log line that contains a text, the latest first: `plain` is the text in lower case,
-- `escaped` as it is within JSON, `exception` a pattern of an exception's message or type with it
SELECT environment, saga_id
FROM (
    SELECT * FROM (
        SELECT origin_id, saga_id, seq, status_message, events FROM span_records
        WHERE seq >= $first::UBIGINT AND seq <= $last::UBIGINT AND saga_id <> ''
        UNION ALL SELECT origin_id, saga_id, $last::UBIGINT, status_message, events FROM long_running_spans WHERE $moved
    )
    WHERE contains(lower(status_message), $plain)
        OR (contains(lower(events), $escaped) AND regexp_matches(lower(events), $exception))
    UNION ALL BY NAME
    SELECT * FROM (
        SELECT origin_id, saga_id, seq, body, event_name FROM log_records
        WHERE seq >= $first::UBIGINT AND seq <= $last::UBIGINT AND saga_id <> ''
        UNION ALL SELECT origin_id, saga_id, $last::UBIGINT, body, event_name FROM long_running_logs WHERE $moved
    )
    WHERE contains(lower(body), $escaped) AND NOT starts_with(event_name, 'sagascope.')
)
JOIN origins USING (origin_id)
GROUP BY environment, saga_id
ORDER BY max(seq) DESC, environment, saga_id
LIMIT $limit

-- name: select_unassigned
-- spans that belong to no saga, with an attribute of this value; `element` is the value in JSON
SELECT
    count(*) FILTER (is_unassigned),
    any_value(attribute_keys) FILTER (is_unassigned),
    any_value(attribute_values) FILTER (is_unassigned),
    least(
        min(received_at),
        (SELECT min(received_at) FROM log_records WHERE seq >= $first::UBIGINT AND seq <= $last::UBIGINT)
    )
FROM (
    SELECT *, saga_id = '' AND contains(attribute_values, $element) AS is_unassigned FROM span_records
    WHERE seq >= $first::UBIGINT AND seq <= $last::UBIGINT
)

-- name: select_spans_between
-- to export: readable columns, with the nanoseconds that the views leave out, and the day
SELECT
    strftime(make_timestamp((start // 1000)::BIGINT), '%Y-%m-%d') AS day,
    make_timestamp_ns(start::BIGINT) AS start_time,
    make_timestamp_ns(nullif(least("end", 9223372036854775806), 0)::BIGINT) AS end_time,
    lower(hex(parent_id)) AS parent_id,
    name,
    kind,
    status,
    status_message,
    events_list(events)::VARCHAR AS events,
    links_list(links)::VARCHAR AS links,
    lower(hex(trace_id)) AS trace_id,
    lower(hex(span_id)) AS span_id,
    COLUMNS('^(environment|service|version|instance|(saga|step)_\w+)$'),
    attributes_object(attribute_keys, attribute_values, [
        to_json(saga_id), to_json(saga_name), to_json(saga_run), to_json(saga_role), to_json(step_name),
        to_json(step_type), to_json(step_key), to_json(step_attempt)
    ])::VARCHAR AS attributes,
    resource::VARCHAR AS resource,
    scope
FROM (FROM span_records UNION ALL FROM long_running_spans)
JOIN shown_origins() USING (origin_id)
WHERE start >= $since::UBIGINT AND start < $until::UBIGINT

-- name: select_logs_between
SELECT
    strftime(make_timestamp(("at" // 1000)::BIGINT), '%Y-%m-%d') AS day,
    make_timestamp_ns("at"::BIGINT) AS time,
    severity,
    severity_text,
    event_name,
    body_text(shown_json(body)) AS body,
    lower(hex(trace_id)) AS trace_id,
    lower(hex(span_id)) AS span_id,
    COLUMNS('^(environment|service|version|instance|(saga|step)_\w+)$'),
    attributes_object(attribute_keys, attribute_values, [
        to_json(saga_id), to_json(saga_name), to_json(saga_run), to_json(saga_role), to_json(step_name),
        to_json(step_type), to_json(step_key), to_json(step_attempt)
    ])::VARCHAR AS attributes,
    resource::VARCHAR AS resource,
    scope
FROM (FROM log_records UNION ALL FROM long_running_logs)
JOIN shown_origins() USING (origin_id)
WHERE "at" >= $since::UBIGINT AND "at" < $until::UBIGINT

-- name: select_all_saga_ids
SELECT DISTINCT environment, saga_id
FROM (
    SELECT origin_id, saga_id FROM span_records
    UNION ALL SELECT origin_id, saga_id FROM log_records
    UNION ALL SELECT origin_id, saga_id FROM long_running_spans
    UNION ALL SELECT origin_id, saga_id FROM long_running_logs
)
JOIN origins USING (origin_id)
WHERE saga_id <> ''
UNION
SELECT environment, saga_id FROM linked_spans
ORDER BY ALL

-- name: select_bounds_of_all
-- the bounds of each saga's records, to rebuild summaries
SELECT environment, saga_id, min(seq), max(seq), count(*)
FROM (
    SELECT origin_id, saga_id, seq FROM span_records
    UNION ALL SELECT origin_id, saga_id, seq FROM log_records
)
JOIN origins USING (origin_id)
WHERE saga_id <> ''
GROUP BY ALL

-- name: select_repeated_spans
-- the spans that are already stored with the same content, at any time
SELECT late.number
FROM late_spans AS late
JOIN (
    SELECT * FROM span_records WHERE start >= $since::UBIGINT AND start <= $until::UBIGINT
    UNION ALL
    SELECT * FROM long_running_spans WHERE start >= $since::UBIGINT AND start <= $until::UBIGINT
) AS stored
    ON stored.span_id = late.span_id
    AND stored.trace_id = late.trace_id
    AND stored.origin_id = late.origin_id
    AND stored.parent_id = late.parent_id
    AND stored.name = late.name
    AND stored.kind = late.kind
    AND stored.start = late.start
    AND stored."end" = late."end"
    AND stored.status = late.status
    AND stored.status_message = late.status_message
    AND stored.extras = late.extras
    AND stored.events = late.events
    AND stored.links = late.links
    AND (
        (
            stored.attribute_keys = late.attribute_keys
            AND stored.attribute_values = late.attribute_values
            AND stored.saga_id = late.saga_id
            AND stored.saga_name = late.saga_name
            AND stored.saga_run = late.saga_run
            AND stored.saga_role = late.saga_role
            AND stored.step_name = late.step_name
            AND stored.step_type = late.step_type
            AND stored.step_key = late.step_key
            AND stored.step_attempt = late.step_attempt
        )
        -- got its saga from its trace, and perhaps attributes, after it was stored
        OR (
            late.saga_id = ''
            AND stored.attribute_keys = late.attribute_keys
            AND stored.attribute_values = late.attribute_values
            AND NOT regexp_matches(stored.attribute_keys, '[\[,]0[,\]]')
        )
        OR (
            late.saga_id = ''
            AND contains(stored.attribute_keys, '"sagascope.mapped"')
            AND starts_with(stored.attribute_keys, left(late.attribute_keys, -1))
            AND starts_with(stored.attribute_values, left(late.attribute_values, -1))
        )
    )

-- name: select_repeated_logs
-- the log records that are already stored; those without a timestamp have their time of receipt, and are compared by
-- the other columns
SELECT late.number
FROM late_logs AS late
JOIN (
    SELECT * FROM log_records
    WHERE "at" >= $since::UBIGINT AND "at" <= $until::UBIGINT
    UNION ALL
    SELECT * FROM long_running_logs
    WHERE "at" >= $since::UBIGINT AND "at" <= $until::UBIGINT
) AS stored
    ON stored."timestamp" = late."timestamp"
    AND stored.observed_at = late.observed_at
    AND stored.trace_id = late.trace_id
    AND stored.span_id = late.span_id
    AND stored.origin_id = late.origin_id
    AND stored.severity = late.severity
    AND stored.severity_text = late.severity_text
    AND stored.body = late.body
    AND stored.event_name = late.event_name
    AND stored.flags = late.flags
    AND stored.dropped_attributes = late.dropped_attributes
    AND (
        (
            stored.attribute_keys = late.attribute_keys
            AND stored.attribute_values = late.attribute_values
            AND stored.saga_id = late.saga_id
            AND stored.saga_name = late.saga_name
            AND stored.saga_run = late.saga_run
            AND stored.saga_role = late.saga_role
            AND stored.step_name = late.step_name
            AND stored.step_type = late.step_type
            AND stored.step_key = late.step_key
            AND stored.step_attempt = late.step_attempt
        )
        -- got its saga from its trace, and perhaps attributes, after it was stored
        OR (
            late.saga_id = ''
            AND stored.attribute_keys = late.attribute_keys
            AND stored.attribute_values = late.attribute_values
            AND NOT regexp_matches(stored.attribute_keys, '[\[,]0[,\]]')
        )
        OR (
            late.saga_id = ''
            AND contains(stored.attribute_keys, '"sagascope.mapped"')
            AND starts_with(stored.attribute_keys, left(late.attribute_keys, -1))
            AND starts_with(stored.attribute_values, left(late.attribute_values, -1))
        )
    )

-- name: select_late_spans
SELECT trace_id, span_id, "end" FROM span_records WHERE seq > $seq::UBIGINT

-- name: select_late_logs
SELECT trace_id, span_id, "timestamp", observed_at, body, attribute_values FROM log_records WHERE seq > $seq::UBIGINT

-- name: select_ends_of_spans
-- the first and the last records of a large saga, and its roots; sorting whole rows would take a hundred times longer
SELECT *
FROM span_records
WHERE saga_id = $id AND seq >= $first::UBIGINT AND seq <= $last::UBIGINT AND rowid IN (
    (
        SELECT rowid FROM span_records
        WHERE saga_id = $id AND seq >= $first::UBIGINT AND seq <= $last::UBIGINT
        ORDER BY start, seq, span_id LIMIT $limit
    ) UNION ALL (
        SELECT rowid FROM span_records
        WHERE saga_id = $id AND seq >= $first::UBIGINT AND seq <= $last::UBIGINT
        ORDER BY start DESC, seq DESC, span_id DESC LIMIT $limit
    ) UNION ALL (
        SELECT rowid FROM span_records
        WHERE saga_id = $id AND seq >= $first::UBIGINT AND seq <= $last::UBIGINT
        AND saga_role = 'saga'
        ORDER BY start, seq, span_id LIMIT $limit
    )
)

-- name: select_ends_of_logs
SELECT *
FROM log_records
WHERE saga_id = $id AND seq >= $first::UBIGINT AND seq <= $last::UBIGINT AND rowid IN (
    (
        SELECT rowid FROM log_records
        WHERE saga_id = $id AND seq >= $first::UBIGINT AND seq <= $last::UBIGINT
        ORDER BY "at", seq LIMIT $limit
    ) UNION ALL (
        SELECT rowid FROM log_records
        WHERE saga_id = $id AND seq >= $first::UBIGINT AND seq <= $last::UBIGINT
        ORDER BY "at" DESC, seq DESC LIMIT $limit
    )
)
