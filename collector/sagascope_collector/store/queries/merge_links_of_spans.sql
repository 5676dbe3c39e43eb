-- as merge_links; links go with their spans, too
COPY (
    SELECT * FROM read_parquet($files) ANTI JOIN left_out USING (environment, saga_id)
    ANTI JOIN (
        SELECT trace_id, span_id FROM read_parquet($spans) SEMI JOIN left_out USING (environment, saga_id)
    ) AS going USING (trace_id, span_id)
    WHERE saga_id <> '' OR $before = 0
    ORDER BY saga_id, trace_id
)
TO $file (FORMAT parquet, COMPRESSION zstd, PARQUET_VERSION v2, ROW_GROUP_SIZE 20480)
