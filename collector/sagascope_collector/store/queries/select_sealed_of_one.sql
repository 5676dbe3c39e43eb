-- a constant is compared with the statistics of row groups before anything is read: half the time of a join
SELECT * FROM read_parquet($files) WHERE saga_id = $id
