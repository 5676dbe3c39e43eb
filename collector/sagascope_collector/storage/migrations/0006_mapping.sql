-- one row: with which rules of the mapping file everything up to the commit `seq` was mapped. Up to `remap_until`, records
-- may have been received under other rules
CREATE TABLE mapping_progress (
    digest VARCHAR NOT NULL,
    seq UBIGINT NOT NULL,
    remap_until UBIGINT NOT NULL
);
