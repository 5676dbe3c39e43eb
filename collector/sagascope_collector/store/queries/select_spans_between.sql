SELECT * FROM read_parquet($files)
WHERE ($after IS NULL OR saga_id > $after) AND ($through IS NULL OR saga_id <= $through)
ORDER BY saga_id, trace_id, start
