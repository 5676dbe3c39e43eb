SELECT DISTINCT environment, saga_id FROM read_parquet($files)
