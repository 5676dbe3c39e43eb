COPY (SELECT * FROM rows ORDER BY saga_id, trace_id, start)
TO $file (FORMAT parquet, COMPRESSION zstd, PARQUET_VERSION v2, ROW_GROUP_SIZE 20480)
