-- name: select_progress
SELECT digest, seq, remap_until FROM mapping_progress

-- name: delete_progress
DELETE FROM mapping_progress

-- name: insert_progress
INSERT INTO mapping_progress VALUES ($digest, $seq, $remap_until)

-- name: select_identified_traces
-- the traces with records in a range of commits that a rule may give to a saga: a span of theirs, at most some commits
-- earlier, may have the id. A record with its own `saga.id` has the number 0 among its keys
WITH touched AS (
    SELECT DISTINCT trace_id
    FROM (
        SELECT trace_id, saga_id, attribute_keys FROM span_records
        WHERE seq >= $first::UBIGINT AND seq <= $last::UBIGINT
        UNION ALL
        SELECT trace_id, saga_id, attribute_keys FROM log_records
        WHERE seq >= $first::UBIGINT AND seq <= $last::UBIGINT
    )
    WHERE trace_id <> ''::BLOB AND CASE
        WHEN $is_again THEN NOT regexp_matches(attribute_keys, '[\[,]0[,\]]')
        ELSE saga_id = ''
    END
)
SELECT trace_id
FROM (
    SELECT trace_id, regexp_matches(attribute_keys, $keys) AS has_key FROM span_records
    WHERE seq >= $since::UBIGINT AND seq <= $last::UBIGINT
    UNION ALL
    SELECT trace_id, FALSE AS has_key FROM log_records
    WHERE seq >= $since::UBIGINT AND seq <= $last::UBIGINT
)
SEMI JOIN touched USING (trace_id)
GROUP BY trace_id
HAVING bool_or(has_key) AND count(*) <= $limit

-- name: select_spans
-- records without a `saga.id` of their own: those of these traces, and all of the range where it is mapped again
SELECT
    span_records.rowid AS "row", seq, trace_id, environment, service, json_extract_string(scope, '$[0]') AS scope,
    span_id, parent_id, name, kind, start,
    saga_id, saga_name, saga_run, saga_role, step_name, step_type, step_key, step_attempt,
    attribute_keys, attribute_values
FROM span_records JOIN origins USING (origin_id)
WHERE seq >= $since::UBIGINT AND seq <= $last::UBIGINT
    AND (($is_again AND seq >= $first::UBIGINT) OR trace_id IN (SELECT trace_id FROM identified))
    AND NOT regexp_matches(attribute_keys, '[\[,]0[,\]]')

-- name: select_logs
SELECT
    log_records.rowid AS "row", seq, trace_id, environment, service, json_extract_string(scope, '$[0]') AS scope,
    span_id, ''::BLOB AS parent_id, '' AS name, '' AS kind, "at" AS start,
    saga_id, saga_name, saga_run, saga_role, step_name, step_type, step_key, step_attempt,
    attribute_keys, attribute_values
FROM log_records JOIN origins USING (origin_id)
WHERE seq >= $since::UBIGINT AND seq <= $last::UBIGINT
    AND (($is_again AND seq >= $first::UBIGINT) OR trace_id IN (SELECT trace_id FROM identified))
    AND NOT regexp_matches(attribute_keys, '[\[,]0[,\]]')

-- name: update_spans
UPDATE span_records SET
    saga_id = changed.saga_id,
    saga_name = changed.saga_name,
    saga_run = changed.saga_run,
    saga_role = changed.saga_role,
    step_name = changed.step_name,
    step_type = changed.step_type,
    step_key = changed.step_key,
    step_attempt = changed.step_attempt,
    attribute_keys = changed.attribute_keys,
    attribute_values = changed.attribute_values
FROM changed
WHERE seq >= $first::UBIGINT AND seq <= $last::UBIGINT AND span_records.rowid = changed."row"

-- name: update_logs
UPDATE log_records SET
    saga_id = changed.saga_id,
    saga_name = changed.saga_name,
    saga_run = changed.saga_run,
    saga_role = changed.saga_role,
    step_name = changed.step_name,
    step_type = changed.step_type,
    step_key = changed.step_key,
    step_attempt = changed.step_attempt,
    attribute_keys = changed.attribute_keys,
    attribute_values = changed.attribute_values
FROM changed
WHERE seq >= $first::UBIGINT AND seq <= $last::UBIGINT AND log_records.rowid = changed."row"
