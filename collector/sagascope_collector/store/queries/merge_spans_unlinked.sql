-- as merge_spans; some spans have other links now
COPY (
    SELECT spans.* REPLACE (coalesce(unlinked.links, spans.links) AS links)
    FROM (
        SELECT * FROM read_parquet($files) ANTI JOIN left_out USING (environment, saga_id)
        WHERE saga_id <> '' OR start >= $before
    ) AS spans
    LEFT JOIN unlinked
        ON spans.trace_id = unlinked.trace_id AND spans.span_id = unlinked.span_id AND spans."end" = unlinked."end"
    ORDER BY saga_id, trace_id, start
)
TO $file (FORMAT parquet, COMPRESSION zstd, PARQUET_VERSION v2, ROW_GROUP_SIZE 20480)
