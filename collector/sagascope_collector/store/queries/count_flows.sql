SELECT name, environment, status, sum(sagas)::BIGINT, sum(needing)::BIGINT
FROM (
    SELECT name, environment, status, count(*) AS sagas, count(attention) AS needing
    FROM sagas
    GROUP BY name, environment, status
    UNION ALL
    SELECT name, environment, status, sagas, 0 FROM shelf_flows
)
GROUP BY name, environment, status
HAVING sum(sagas) > 0
ORDER BY ALL
