SELECT key FROM read_parquet($files)
