-- name: select_old
-- the oldest ended sagas; either all sagas of an id are deleted, or none
SELECT environment, id, any_value(bounds)
FROM ended_sagas
WHERE updated_at < $before::BIGINT
    AND (environment, id) NOT IN (SELECT (environment, id) FROM ended_sagas WHERE updated_at >= $before::BIGINT)
GROUP BY environment, id
ORDER BY min(batch), min(started_at)
LIMIT $limit

-- name: select_downsampling
-- either all sagas of an id are downsampled, or none
SELECT environment, id, any_value(bounds)
FROM ended_sagas
WHERE updated_at < $before::BIGINT AND bounds <> '[[],0,-1]'
    AND (environment, id) NOT IN (
        SELECT (environment, id) FROM ended_sagas WHERE updated_at >= $before::BIGINT OR status <> 'completed'
    )
GROUP BY environment, id
LIMIT $limit

-- name: select_unchanged
-- the sagas that have ended and have had no record since `before`
SELECT environment, id, any_value(bounds)
FROM ended_sagas JOIN (SELECT *, md5_number_lower(id) AS id_hash FROM wanted) USING (id_hash, environment, id)
GROUP BY environment, id
HAVING max(updated_at) < $before::BIGINT

-- name: insert_expired
INSERT INTO expired_sagas SELECT (md5_number_lower(id) >> 32)::UINTEGER, $day FROM gone

-- name: delete_expired
DELETE FROM expired_sagas WHERE "day" < $before

-- name: select_expired
SELECT mark FROM expired_sagas WHERE mark = (md5_number_lower($id) >> 32)::UINTEGER LIMIT 1

-- name: select_receipts
SELECT min(received_at), max(received_at)
FROM (
    SELECT received_at FROM span_records WHERE seq >= $first::UBIGINT AND seq <= $last::UBIGINT
    UNION ALL
    SELECT received_at FROM log_records WHERE seq >= $first::UBIGINT AND seq <= $last::UBIGINT
)
