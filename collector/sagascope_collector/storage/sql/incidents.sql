-- name: select_members
SELECT DISTINCT environment, id FROM incident_sagas

-- name: delete_sagas
DELETE FROM incident_sagas USING settled
WHERE incident_sagas.environment = settled.environment AND incident_sagas.id = settled.id
RETURNING incident_sagas.environment, name, incident_sagas.id, run, incident, joined_at

-- name: delete_amounts
DELETE FROM incident_amounts USING settled
WHERE incident_amounts.environment = settled.environment AND incident_amounts.id = settled.id

-- name: insert_sagas
INSERT INTO incident_sagas BY NAME SELECT * FROM batch_sagas

-- name: insert_amounts
INSERT INTO incident_amounts BY NAME SELECT * FROM batch_amounts

-- name: group_sagas
SELECT
    incident,
    any_value(environment),
    any_value(name),
    any_value(step),
    coalesce(mode(service) FILTER (service <> ''), ''),
    any_value(phase),
    any_value(reason),
    any_value(fingerprint),
    arg_max(error, since),
    count(*),
    min(since),
    quantile_disc(since, 0.5),
    max(since),
    max(joined_at),
    arg_min(id, since, 5),
    count_if(recommended_action = 'resume'),
    count_if(recommended_action = 'compensate'),
    count_if(recommended_action = 'verify_first')
FROM incident_sagas
GROUP BY incident
ORDER BY incident

-- name: sum_amounts
SELECT incident, currency, sum(certain), sum(possible), max(places) FROM incident_amounts
GROUP BY incident, currency
ORDER BY ALL

-- name: select_incidents
SELECT key, document FROM incidents

-- name: put_incidents
INSERT OR REPLACE INTO incidents BY NAME SELECT * FROM batch_incidents

-- name: insert_incident_changes
INSERT INTO incident_changes BY NAME SELECT * FROM batch_changes

-- name: select_incident_changes
SELECT incident, "at", what, by_whom, note, sagas FROM incident_changes WHERE incident = $key ORDER BY rowid

-- name: delete_incident_members
DELETE FROM incident_members WHERE incident = $key

-- name: insert_incident_members
INSERT INTO incident_members
SELECT incident, environment, name, id, run, $at FROM incident_sagas WHERE incident = $key

-- name: select_incidents_of_ids
SELECT incident FROM incident_sagas SEMI JOIN settled USING (environment, id)
UNION
SELECT incident FROM incident_members SEMI JOIN settled USING (environment, id)

-- name: delete_members_of_ids
DELETE FROM incident_members USING settled
WHERE incident_members.environment = settled.environment AND incident_members.id = settled.id

-- name: clear_notes
UPDATE incident_changes SET note = ''
WHERE note <> '' AND EXISTS (FROM texts WHERE contains(note, texts."text"))

-- name: count_moved
-- a saga that joined its incident again after the acknowledgement had progressed, and is stuck again; a saga that is
-- not open has finished
SELECT
    count(*) FILTER (stuck.incident = then_.incident AND stuck.joined_at <= acknowledged_at),
    count(*) FILTER (stuck.incident = then_.incident AND stuck.joined_at > acknowledged_at),
    count(*) FILTER (stuck.incident IS DISTINCT FROM then_.incident AND NOT is_over),
    count(*) FILTER (stuck.incident IS DISTINCT FROM then_.incident AND is_over),
    count(*)
FROM (
    SELECT
        members.*,
        CASE
            WHEN sagas.id IS NOT NULL THEN ended_at IS NOT NULL AND attention IS NULL
            ELSE (environment, id) NOT IN (SELECT (environment, id) FROM open_sagas)
        END AS is_over
    FROM incident_members AS members
    LEFT JOIN open_sagas AS sagas USING (environment, name, id, run)
    WHERE members.incident = $key
) AS then_
LEFT JOIN incident_sagas AS stuck USING (environment, name, id, run)

-- name: select_failure_period
-- the period of an incident about a failure rate: its sagas are those that failed within it
SELECT
    json_extract_string(document, '$.environment'),
    json_extract_string(document, '$.name'),
    json_extract(document, '$.since')::BIGINT,
    CASE WHEN json_extract_string(document, '$.state') = 'resolved' THEN json_extract(document, '$.changed_at')::BIGINT END,
    coalesce(json_extract_string(document, '$.failure_rate[4]'), '')
FROM incidents
WHERE key = $key AND json_extract_string(document, '$.reason') = 'failure_rate'
