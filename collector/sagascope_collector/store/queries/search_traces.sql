SELECT 'trace' AS kind, * FROM sagas
SEMI JOIN (
    SELECT environment, saga_id AS id FROM spans WHERE trace_id = $id
    UNION ALL SELECT environment, saga_id FROM span_links WHERE trace_id = $id
    UNION ALL SELECT environment, saga_id FROM logs WHERE trace_id = $id
) USING (environment, id)
ORDER BY started_at DESC, environment, name, id, run
LIMIT $limit
