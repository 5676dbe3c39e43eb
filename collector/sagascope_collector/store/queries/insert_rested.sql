INSERT INTO rested
SELECT * FROM sagas SEMI JOIN resting USING (environment, id)
ORDER BY started_at
