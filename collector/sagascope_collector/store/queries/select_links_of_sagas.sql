SELECT DISTINCT * EXCLUDE (key) FROM span_links SEMI JOIN wanted_sagas USING (environment, saga_id)
