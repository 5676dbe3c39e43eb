SELECT environment, name, status, count(*) AS sagas FROM read_parquet($file) GROUP BY ALL
