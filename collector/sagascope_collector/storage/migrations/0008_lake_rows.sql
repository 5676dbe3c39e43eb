-- how many rows of each table of the lake were copied for certain: where to go on once the snapshot has expired
ALTER TABLE lake_cursor ADD COLUMN spans BIGINT DEFAULT 0;
ALTER TABLE lake_cursor ADD COLUMN logs BIGINT DEFAULT 0;
ALTER TABLE lake_cursor ADD COLUMN linked_spans BIGINT DEFAULT 0
