SELECT DISTINCT environment FROM read_parquet($files) WHERE saga_id = $id
