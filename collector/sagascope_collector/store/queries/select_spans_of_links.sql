SELECT * FROM spans SEMI JOIN wanted_spans USING (trace_id, span_id)
QUALIFY row_number() OVER (PARTITION BY trace_id, span_id ORDER BY "end" = 0) = 1
