SELECT id, keys, started_at, steps, services FROM read_parquet($file)
