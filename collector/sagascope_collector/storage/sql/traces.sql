-- name: select_indexed
SELECT coalesce(min(first_seq), 0), coalesce(max(last_seq), 0) FROM trace_commits

-- name: insert_trace_commits
INSERT INTO trace_commits
SELECT md5_number_lower(hex(trace_id)), min(seq), max(seq)
FROM (
    SELECT trace_id, seq FROM span_records WHERE seq >= $first::UBIGINT AND seq <= $last::UBIGINT
    UNION ALL
    SELECT trace_id, seq FROM log_records WHERE seq >= $first::UBIGINT AND seq <= $last::UBIGINT
)
WHERE trace_id <> ''::BLOB
GROUP BY trace_id

-- name: select_commits_of_trace
SELECT first_seq, last_seq FROM trace_commits WHERE trace_hash = md5_number_lower($trace)

-- name: delete_trace_commits
DELETE FROM trace_commits WHERE last_seq <= $last::UBIGINT

-- name: update_trace_commits
-- the smallest of these numbers tells after a restart where the index begins
UPDATE trace_commits SET first_seq = $last::UBIGINT + 1 WHERE first_seq <= $last::UBIGINT

-- name: clear_trace_commits
DELETE FROM trace_commits
