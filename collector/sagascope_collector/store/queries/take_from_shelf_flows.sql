UPDATE shelf_flows SET sagas = shelf_flows.sagas - taken.sagas
FROM (
    SELECT environment, name, status, count(*) AS sagas
    FROM read_parquet($file, file_row_number = TRUE)
    SEMI JOIN places USING (file_row_number)
    GROUP BY ALL
) AS taken
WHERE shelf_flows.shelf = $shelf
    AND shelf_flows.environment = taken.environment
    AND shelf_flows.name = taken.name
    AND shelf_flows.status = taken.status
