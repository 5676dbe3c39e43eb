SELECT * FROM read_parquet($files) SEMI JOIN wanted_spans USING (trace_id, span_id)
