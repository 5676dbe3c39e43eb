-- small row groups: a page, or one saga, reads one or two of them
COPY (FROM rows) TO $file (FORMAT parquet, COMPRESSION zstd, PARQUET_VERSION v2, ROW_GROUP_SIZE 4096)
