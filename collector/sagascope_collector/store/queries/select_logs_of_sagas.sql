SELECT * FROM logs SEMI JOIN wanted_sagas USING (environment, saga_id)
