SELECT * FROM sagas SEMI JOIN resting USING (environment, id)
ORDER BY started_at DESC, environment, name, id, run
