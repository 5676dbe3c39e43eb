-- of a span sent while it was open and again when it had ended, the final one counts
SELECT * FROM spans SEMI JOIN wanted_sagas USING (environment, saga_id)
QUALIFY row_number() OVER (PARTITION BY trace_id, span_id ORDER BY "end" = 0) = 1
