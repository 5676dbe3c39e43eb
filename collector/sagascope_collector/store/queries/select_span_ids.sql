SELECT span_id FROM read_parquet($file)
