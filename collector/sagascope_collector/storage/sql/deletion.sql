-- name: delete_spans
DELETE FROM span_records
USING origins, gone
WHERE span_records.seq >= $first::UBIGINT AND span_records.seq <= $last::UBIGINT
    AND span_records.saga_id = gone.id
    AND span_records.origin_id = origins.origin_id
    AND origins.environment = gone.environment
    AND NOT ($keeps_linked AND (span_records.trace_id, span_records.span_id) IN (
        SELECT (trace_id, span_id) FROM linked_spans
        WHERE seq >= $first::UBIGINT AND seq <= $last::UBIGINT
            AND (linked_spans.environment, linked_spans.saga_id) NOT IN (SELECT (environment, id) FROM gone)
    ))

-- name: delete_logs
DELETE FROM log_records
USING origins, gone
WHERE log_records.seq >= $first::UBIGINT AND log_records.seq <= $last::UBIGINT
    AND log_records.saga_id = gone.id
    AND log_records.origin_id = origins.origin_id
    AND origins.environment = gone.environment

-- name: delete_links
DELETE FROM linked_spans
USING gone
WHERE linked_spans.seq >= $first::UBIGINT AND linked_spans.seq <= $last::UBIGINT
    AND linked_spans.saga_id = gone.id AND linked_spans.environment = gone.environment

-- name: delete_links_of_spans
DELETE FROM linked_spans
WHERE seq >= $first::UBIGINT AND seq <= $last::UBIGINT
    AND (trace_id, span_id) IN (
        SELECT (trace_id, span_id)
        FROM span_records JOIN origins USING (origin_id) SEMI JOIN gone
            ON span_records.saga_id = gone.id AND origins.environment = gone.environment
        WHERE seq >= $first::UBIGINT AND seq <= $last::UBIGINT
    )

-- name: select_linked_to
SELECT DISTINCT trace_id, span_id
FROM linked_spans SEMI JOIN (SELECT environment, id AS saga_id FROM gone) AS gone USING (environment, saga_id)
WHERE seq >= $first::UBIGINT AND seq <= $last::UBIGINT

-- name: delete_freed_spans
-- spans that no link makes part of a saga any more, and that are in no saga or in one without records
DELETE FROM span_records
USING origins, freed
WHERE span_records.seq >= $first::UBIGINT AND span_records.seq <= $last::UBIGINT
    AND span_records.trace_id = freed.trace_id AND span_records.span_id = freed.span_id
    AND span_records.origin_id = origins.origin_id
    AND (span_records.trace_id, span_records.span_id) NOT IN (
        SELECT (trace_id, span_id) FROM linked_spans WHERE seq >= $first::UBIGINT AND seq <= $last::UBIGINT
    )
    AND CASE
        WHEN span_records.saga_id = '' THEN $in_none
        ELSE (origins.environment, span_records.saga_id) NOT IN (
            SELECT (environment, id) FROM open_sagas
            UNION ALL SELECT (environment, id) FROM ended_sagas WHERE bounds <> $downsampled
            UNION ALL SELECT (environment, id) FROM waiting
        )
    END

-- name: delete_moved_spans
DELETE FROM long_running_spans
USING origins, gone
WHERE long_running_spans.seq IN (SELECT move FROM moved)
    AND long_running_spans.saga_id = gone.id
    AND long_running_spans.origin_id = origins.origin_id
    AND origins.environment = gone.environment

-- name: delete_moved_logs
DELETE FROM long_running_logs
USING origins, gone
WHERE long_running_logs.seq IN (SELECT move FROM moved)
    AND long_running_logs.saga_id = gone.id
    AND long_running_logs.origin_id = origins.origin_id
    AND origins.environment = gone.environment

-- name: delete_unassigned_spans
DELETE FROM span_records
WHERE seq >= $first::UBIGINT AND seq <= $last::UBIGINT AND saga_id = '' AND received_at < $before::BIGINT
    AND (trace_id, span_id) NOT IN (
        SELECT (trace_id, span_id) FROM linked_spans WHERE seq >= $first::UBIGINT AND seq <= $last::UBIGINT
    )

-- name: delete_unassigned_logs
DELETE FROM log_records
WHERE seq >= $first::UBIGINT AND seq <= $last::UBIGINT AND saga_id = '' AND received_at < $before::BIGINT

-- name: select_linking
SELECT DISTINCT trace_id, span_id, links
FROM span_records
WHERE seq >= $first::UBIGINT AND seq <= $last::UBIGINT AND links <> ''
    AND (trace_id, span_id) IN (
        SELECT (trace_id, span_id)
        FROM linked_spans SEMI JOIN (SELECT environment, id AS saga_id FROM gone) AS gone USING (environment, saga_id)
        WHERE seq >= $first::UBIGINT AND seq <= $last::UBIGINT
    )

-- name: update_links
UPDATE span_records SET links = changed.links
FROM changed
WHERE seq >= $first::UBIGINT AND seq <= $last::UBIGINT
    AND span_records.trace_id = changed.trace_id
    AND span_records.span_id = changed.span_id
    AND span_records.links = changed.earlier
