SELECT 'span' AS kind, * FROM sagas
SEMI JOIN (
    SELECT environment, saga_id AS id FROM spans WHERE span_id = $id
    UNION ALL SELECT environment, saga_id FROM span_links WHERE span_id = $id
    UNION ALL SELECT environment, saga_id FROM logs WHERE span_id = $id
) USING (environment, id)
ORDER BY started_at DESC, environment, name, id, run
LIMIT $limit
