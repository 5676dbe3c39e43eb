-- a saga that joined its incident anew after the acknowledgement had moved, and is stuck again; one without a summary
-- here is at rest, so it has finished
SELECT
    count(*) FILTER (stands.incident = then_.incident AND stands.joined_at <= acknowledged_at),
    count(*) FILTER (stands.incident = then_.incident AND stands.joined_at > acknowledged_at),
    count(*) FILTER (stands.incident IS DISTINCT FROM then_.incident AND NOT is_over),
    count(*) FILTER (stands.incident IS DISTINCT FROM then_.incident AND is_over),
    count(*)
FROM (
    SELECT
        members.*,
        CASE
            WHEN sagas.id IS NOT NULL THEN ended_at IS NOT NULL AND attention IS NULL
            ELSE (environment, id) NOT IN (SELECT (environment, id) FROM sagas)
        END AS is_over
    FROM incident_members AS members
    LEFT JOIN sagas USING (environment, name, id, run)
    WHERE members.incident = $key
) AS then_
LEFT JOIN standing AS stands USING (environment, name, id, run)
