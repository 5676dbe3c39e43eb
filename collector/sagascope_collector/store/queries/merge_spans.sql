COPY (SELECT * FROM read_parquet($files) ORDER BY saga_id, trace_id, start)
TO $file (FORMAT parquet, COMPRESSION zstd, PARQUET_VERSION v2, ROW_GROUP_SIZE 20480)
