SELECT * FROM read_parquet($files) SEMI JOIN wanted_sagas USING (saga_id)
