SELECT environment, id
FROM read_parquet($file, file_row_number = TRUE) SEMI JOIN places USING (file_row_number)
GROUP BY environment, id
HAVING bool_and(status = 'completed' AND updated_at < $before)
