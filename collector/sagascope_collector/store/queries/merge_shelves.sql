COPY (
    SELECT * EXCLUDE (filename, file_row_number)
    FROM read_parquet($files, filename = TRUE, file_row_number = TRUE)
    ANTI JOIN left_out USING (filename, file_row_number)
    ORDER BY started_at DESC, environment, name, id, run
) TO $file (FORMAT parquet, COMPRESSION zstd, PARQUET_VERSION v2, ROW_GROUP_SIZE 4096)
