-- one row in the local database of a collector that follows a lake: everything up to this snapshot is in it
CREATE TABLE lake_cursor (
    lake VARCHAR NOT NULL,
    snapshot_id BIGINT NOT NULL
);
