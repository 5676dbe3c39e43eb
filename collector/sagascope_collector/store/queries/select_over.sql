SELECT environment, id
FROM read_parquet($file, file_row_number = TRUE)
ANTI JOIN places USING (file_row_number)
GROUP BY environment, id
HAVING max(updated_at) < $before
ORDER BY min(started_at), environment, id
LIMIT $limit
