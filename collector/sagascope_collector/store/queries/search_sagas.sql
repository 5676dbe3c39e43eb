-- the best reason for which a saga is found, then the newest
SELECT CASE WHEN id = $text THEN 'id' WHEN len(list_filter(keys, lambda pair: pair.v = $text)) > 0 THEN 'key' ELSE 'prefix' END AS kind, *
FROM sagas
WHERE starts_with(id, $text) OR len(list_filter(keys, lambda pair: pair.v = $text)) > 0
ORDER BY (kind = 'id') DESC, (kind = 'key') DESC, started_at DESC, environment, name, id, run
LIMIT $limit
