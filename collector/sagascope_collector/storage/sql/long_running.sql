-- name: select_moves
SELECT moves FROM state

-- name: update_moves
UPDATE state SET moves = $moves

-- name: select_linked_seqs
SELECT DISTINCT seq FROM linked_spans
WHERE seq >= $first::UBIGINT AND seq <= $last::UBIGINT
    AND (
        (saga_id = $id AND environment = $environment)
        OR (trace_id, span_id) IN (
            SELECT (trace_id, span_id) FROM span_records
            WHERE saga_id = $id AND seq >= $first::UBIGINT AND seq <= $last::UBIGINT AND list_contains($origins, origin_id)
        )
    )

-- name: copy_spans
INSERT INTO long_running_spans
SELECT * REPLACE ($move::UBIGINT AS seq) FROM span_records
WHERE saga_id = $id AND seq >= $first::UBIGINT AND seq <= $last::UBIGINT AND list_contains($origins, origin_id)
    AND (trace_id, span_id) NOT IN (
        SELECT (trace_id, span_id) FROM linked_spans WHERE seq >= $first::UBIGINT AND seq <= $last::UBIGINT
    )

-- name: delete_spans
DELETE FROM span_records
WHERE saga_id = $id AND seq >= $first::UBIGINT AND seq <= $last::UBIGINT AND list_contains($origins, origin_id)
    AND (trace_id, span_id) NOT IN (
        SELECT (trace_id, span_id) FROM linked_spans WHERE seq >= $first::UBIGINT AND seq <= $last::UBIGINT
    )

-- name: copy_logs
INSERT INTO long_running_logs
SELECT * REPLACE ($move::UBIGINT AS seq) FROM log_records
WHERE saga_id = $id AND seq >= $first::UBIGINT AND seq <= $last::UBIGINT AND list_contains($origins, origin_id)

-- name: delete_logs
DELETE FROM log_records
WHERE saga_id = $id AND seq >= $first::UBIGINT AND seq <= $last::UBIGINT AND list_contains($origins, origin_id)

-- name: copy_moved_spans
INSERT INTO long_running_spans
SELECT * REPLACE ($move::UBIGINT AS seq) FROM long_running_spans
WHERE seq = $earlier::UBIGINT AND saga_id = $id AND list_contains($origins, origin_id)

-- name: delete_moved_spans
DELETE FROM long_running_spans WHERE seq = $move::UBIGINT AND saga_id = $id

-- name: copy_moved_logs
INSERT INTO long_running_logs
SELECT * REPLACE ($move::UBIGINT AS seq) FROM long_running_logs
WHERE seq = $earlier::UBIGINT AND saga_id = $id AND list_contains($origins, origin_id)

-- name: delete_moved_logs
DELETE FROM long_running_logs WHERE seq = $move::UBIGINT AND saga_id = $id
