-- spans that stay, and have links to sagas that are left out
SELECT DISTINCT trace_id, span_id, "end", links
FROM read_parquet($spans)
SEMI JOIN (SELECT trace_id, span_id FROM read_parquet($links) SEMI JOIN left_out USING (environment, saga_id))
    USING (trace_id, span_id)
ANTI JOIN left_out USING (environment, saga_id)
