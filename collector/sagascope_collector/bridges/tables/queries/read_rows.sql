-- values come as PostgreSQL writes them; conditions and order are over plain columns, so that indexes serve
SELECT {values}
FROM {source} AS told
WHERE {condition}
ORDER BY {order}
LIMIT %(limit)s
