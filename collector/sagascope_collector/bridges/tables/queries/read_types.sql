-- the types to which places and keys, which are kept as text, are turned back
SELECT {columns} FROM {source} AS told LIMIT 0
