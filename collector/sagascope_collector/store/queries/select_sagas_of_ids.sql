SELECT * FROM sagas SEMI JOIN wanted_sagas USING (environment, id)
ORDER BY started_at DESC, environment, name, id, run
LIMIT $limit
