-- what is in no saga goes when it is old
COPY (
    SELECT * FROM read_parquet($files) ANTI JOIN left_out USING (environment, saga_id)
    WHERE saga_id <> '' OR start >= $before
    ORDER BY saga_id, trace_id, start
)
TO $file (FORMAT parquet, COMPRESSION zstd, PARQUET_VERSION v2, ROW_GROUP_SIZE 20480)
