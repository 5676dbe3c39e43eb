-- the best reason for which a saga is found, then the newest
SELECT CASE WHEN id = $text THEN 'id' WHEN contains(keys, $member) THEN 'key' ELSE 'prefix' END AS kind, *
FROM sagas
WHERE starts_with(id, $text) OR contains(keys, $member)
ORDER BY (kind = 'id') DESC, (kind = 'key') DESC, started_at DESC, environment, name, id, run
LIMIT $limit
