-- where the row groups of a file begin is read once, not with every question: files never change
SET GLOBAL parquet_metadata_cache = TRUE
