-- values are read as text; conditions and order use plain columns, so that indexes apply
SELECT {values}
FROM {source} AS source_row
WHERE {condition}
ORDER BY {order}
LIMIT %(limit)s
