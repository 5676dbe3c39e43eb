SELECT environment, id, file_row_number
FROM read_parquet($file, file_row_number = TRUE)
SEMI JOIN places USING (file_row_number)
