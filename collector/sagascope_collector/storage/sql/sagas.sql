-- name: select_last_batch
SELECT coalesce(max(batch), 0) FROM ended_sagas

-- name: select_step_services
SELECT environment, name, step, service FROM step_services

-- name: put_step_services
INSERT OR REPLACE INTO step_services SELECT * FROM batch

-- name: select_batches
-- few rows: a batch has all summaries that were moved together
SELECT DISTINCT batch
FROM (FROM ended_terms UNION ALL FROM recent_ended_terms) AS terms
JOIN (SELECT md5_number_lower(term) AS term_hash FROM wanted) AS hashed USING (term_hash)
ORDER BY batch DESC

-- name: select_batches_of_one
SELECT batch FROM ended_terms WHERE term_hash = $hash::UBIGINT
UNION
SELECT batch FROM recent_ended_terms WHERE term_hash = $hash::UBIGINT
ORDER BY batch DESC

-- name: select_bounds_of_open
SELECT environment, id, any_value(bounds)
FROM open_sagas JOIN (SELECT *, md5_number_lower(id) AS id_hash FROM wanted) USING (id_hash, environment, id)
GROUP BY environment, id

-- name: select_bounds_of_ended
SELECT environment, id, any_value(bounds)
FROM ended_sagas JOIN (SELECT *, md5_number_lower(id) AS id_hash FROM wanted) USING (id_hash, environment, id)
WHERE batch = $batch::UBIGINT
GROUP BY environment, id

-- name: select_bounds_called
-- one statement for all: planning each takes longer than running it
SELECT environment, bounds, FALSE AS has_ended FROM open_sagas WHERE id_hash = $hash::UBIGINT AND id = $id
UNION ALL
SELECT environment, bounds, TRUE FROM ended_sagas
WHERE id_hash = $hash::UBIGINT AND id = $id
    AND batch IN (
        SELECT batch FROM ended_terms WHERE term_hash = $hash::UBIGINT
        UNION ALL
        SELECT batch FROM recent_ended_terms WHERE term_hash = $hash::UBIGINT
    )

-- name: select_open_of
SELECT DISTINCT environment, id
FROM open_sagas SEMI JOIN wanted USING (environment, name)
WHERE status IN ('running', 'compensating') AND (environment, id) > ($environment, $id)
ORDER BY environment, id LIMIT $limit

-- name: select_scattered
SELECT environment, id, any_value(bounds)
FROM open_sagas
WHERE length(bounds) - length(replace(bounds, '[', '')) - 2 >= $intervals
GROUP BY environment, id
LIMIT 100

-- name: delete_open
DELETE FROM open_sagas USING (SELECT environment, id, md5_number_lower(id) AS id_hash FROM settled) AS gone
WHERE open_sagas.id_hash = gone.id_hash AND open_sagas.environment = gone.environment AND open_sagas.id = gone.id

-- name: delete_open_one
DELETE FROM open_sagas WHERE id_hash = md5_number_lower($id) AND environment = $environment AND id = $id

-- name: update_bounds
UPDATE open_sagas SET bounds = $bounds
WHERE id_hash = md5_number_lower($id) AND environment = $environment AND id = $id

-- name: update_ended_bounds
UPDATE ended_sagas SET bounds = $bounds
FROM (SELECT environment, id, md5_number_lower(id) AS id_hash FROM settled) AS chosen
WHERE ended_sagas.id_hash = chosen.id_hash
    AND ended_sagas.environment = chosen.environment
    AND ended_sagas.id = chosen.id

-- name: select_settled
-- either all sagas of an id are moved, or none
SELECT * FROM open_sagas
SEMI JOIN (
    SELECT environment, id
    FROM open_sagas
    GROUP BY environment, id
    HAVING bool_and(ended_at IS NOT NULL AND attention IS NULL AND due_at IS NULL AND updated_at < $before)
    ORDER BY min(started_at)
    LIMIT $limit
) USING (environment, id)

-- name: insert_ended
INSERT INTO ended_sagas SELECT $batch::UBIGINT, * FROM ended ORDER BY started_at

-- name: insert_terms
INSERT INTO recent_ended_terms
SELECT DISTINCT md5_number_lower(term), $batch::UBIGINT
FROM (
    SELECT id AS term FROM ended
    UNION ALL
    SELECT unnest(json_extract_string(keys, '$.*')) FROM ended WHERE keys <> '{}'
)

-- name: delete_terms
DELETE FROM ended_terms WHERE term_hash IN (SELECT md5_number_lower(term) FROM wanted)

-- name: delete_recent_terms_of
DELETE FROM recent_ended_terms WHERE term_hash IN (SELECT md5_number_lower(term) FROM wanted)

-- name: insert_terms_again
INSERT INTO recent_ended_terms
SELECT DISTINCT md5_number_lower(term), $batch::UBIGINT
FROM (
    SELECT id AS term FROM ended_sagas WHERE batch = $batch::UBIGINT
    UNION ALL
    SELECT unnest(json_extract_string(keys, '$.*')) FROM ended_sagas WHERE batch = $batch::UBIGINT AND keys <> '{}'
)
WHERE term IN (SELECT term FROM wanted)

-- name: add_ended_counts
INSERT INTO ended_counts
SELECT environment, name, status, count(*) FROM ended GROUP BY ALL
ON CONFLICT DO UPDATE SET sagas = sagas + excluded.sagas

-- name: subtract_ended_counts
INSERT INTO ended_counts
SELECT environment, name, status, -count(*) FROM gone GROUP BY ALL
ON CONFLICT DO UPDATE SET sagas = sagas + excluded.sagas

-- name: delete_ended
DELETE FROM ended_sagas USING (SELECT environment, id, md5_number_lower(id) AS id_hash FROM settled) AS gone
WHERE ended_sagas.id_hash = gone.id_hash AND ended_sagas.environment = gone.environment AND ended_sagas.id = gone.id
RETURNING ended_sagas.environment, ended_sagas.name, ended_sagas.status, ended_sagas.ended_at

-- name: count_recent_terms
SELECT count(*) FROM recent_ended_terms

-- name: sort_recent_terms
INSERT INTO ended_terms FROM recent_ended_terms ORDER BY term_hash

-- name: delete_recent_terms
DELETE FROM recent_ended_terms

-- name: select_due
SELECT environment, id FROM open_sagas
WHERE due_at <= $now
GROUP BY environment, id
ORDER BY min(due_at), environment, id
LIMIT $limit

-- name: select_next_due
SELECT min(due_at) FROM open_sagas

-- name: count_flows
SELECT name, environment, status, sum(sagas)::BIGINT, sum(needing)::BIGINT
FROM (
    SELECT name, environment, status, count(*) AS sagas, count(attention) AS needing
    FROM open_sagas
    GROUP BY name, environment, status
    UNION ALL
    SELECT name, environment, status, sagas, 0 FROM ended_counts
)
-- what `doctor` sends is not user data
WHERE environment <> 'sagascope.doctor'
GROUP BY name, environment, status
HAVING sum(sagas) > 0
ORDER BY ALL
