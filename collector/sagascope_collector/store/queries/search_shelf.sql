-- as search_sagas, of some rows of one shelf
SELECT CASE WHEN id = $text THEN 'id' WHEN contains(keys, $member) THEN 'key' ELSE 'prefix' END AS kind,
    * EXCLUDE file_row_number
FROM read_parquet($file, file_row_number = TRUE)
SEMI JOIN places USING (file_row_number)
WHERE starts_with(id, $text) OR contains(keys, $member)
