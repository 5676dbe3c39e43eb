-- the types of cursor and key columns, whose values are kept as text
SELECT {columns} FROM {source} AS source_row LIMIT 0
