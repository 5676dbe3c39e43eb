-- a saga that joined its incident anew after the acknowledgement had moved, and is stuck again
SELECT
    count(*) FILTER (stands.incident = then_.incident AND stands.joined_at <= acknowledged_at),
    count(*) FILTER (stands.incident = then_.incident AND stands.joined_at > acknowledged_at),
    count(*) FILTER (stands.incident IS DISTINCT FROM then_.incident AND NOT (ended_at IS NOT NULL AND attention IS NULL)),
    count(*) FILTER (stands.incident IS DISTINCT FROM then_.incident AND ended_at IS NOT NULL AND attention IS NULL),
    count(*)
FROM incident_members AS then_
LEFT JOIN standing AS stands USING (environment, name, id, run)
LEFT JOIN all_sagas USING (environment, name, id, run)
WHERE then_.incident = $key
