SELECT trace_id, span_id, "end" FROM read_parquet($files)
