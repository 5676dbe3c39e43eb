-- only log records have a key of their own
SELECT COLUMNS(lambda name: name IN ('saga_id', 'trace_id', 'span_id', 'key')) FROM read_parquet($files)
